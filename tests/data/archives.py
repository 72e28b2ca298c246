"""Small archives in the official layouts, and an HTTP server for download tests."""

import contextlib
import gzip
import hashlib
import http.server
import io
import pathlib
import tarfile
import threading

import numpy as np

from diffax.data.download import Remote

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def cifar_images(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


def cifar10(path, per_file=2, extra=()):
    """cifar-10-binary.tar.gz with a few records a file; returns {split: (images, labels)} in NumPy."""
    truth = {"train": ([], []), "test": ([], [])}
    with tarfile.open(path, "w:gz") as archive:
        for k, name in enumerate([*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]):
            images, labels = cifar_images(per_file, seed=k), (np.arange(per_file) + k) % 10
            truth["test" if "test" in name else "train"][0].append(images)
            truth["test" if "test" in name else "train"][1].append(labels)
            planes = images.transpose(0, 3, 1, 2).reshape(per_file, -1)
            add(archive, f"cifar-10-batches-bin/{name}", np.c_[labels[:, None].astype(np.uint8), planes].tobytes())
        add(archive, "cifar-10-batches-bin/batches.meta.txt", "\n".join(NAMES).encode() + b"\n\n")
        for name, content in extra:
            add(archive, name, content)
    return {split: tuple(np.concatenate(parts) for parts in both) for split, both in truth.items()}


def add(archive, name, content):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def idx(array):
    """The bytes of an idx file."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


def mnist(folder, train=6, test=3):
    """The four gzipped files; returns {split: (images, labels)}."""
    folder.mkdir(parents=True, exist_ok=True)
    truth, rng = {}, np.random.default_rng(0)
    for split, stem, n in (("train", "train", train), ("test", "t10k", test)):
        images, labels = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8), np.arange(n) % 10
        (folder / f"{stem}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (folder / f"{stem}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
        truth[split] = images, labels
    return truth


def remote(base, path):
    """The description of a served file for download.fetch."""
    content = pathlib.Path(path).read_bytes()
    return Remote(f"{base}/{pathlib.Path(path).name}", len(content), hashlib.sha256(content).hexdigest())


class Server:
    """An HTTP server of a folder; counts the bytes sent.

    stop_after: ends every response after so many bytes. ranges: whether range requests are supported.
    """

    def __init__(self, folder):
        self.folder, self.stop_after, self.ranges, self.sent, self.url = folder, None, True, 0, ""


@contextlib.contextmanager
def serving(folder):
    server = Server(folder)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = (server.folder / self.path.lstrip("/")).read_bytes()
            begin = 0
            asked = self.headers.get("Range")
            if asked and server.ranges:
                begin = int(asked.removeprefix("bytes=").split("-")[0])
            self.send_response(206 if begin else 200)
            self.send_header("Content-Length", str(len(content) - begin))
            self.end_headers()
            part = content[begin:] if server.stop_after is None else content[begin : begin + server.stop_after]
            server.sent += len(part)
            self.wfile.write(part)

        def log_message(self, *_):
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{listening.server_address[1]}"
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
