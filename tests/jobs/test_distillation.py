"""Distillation from a run: trained, continued, moved; and teachers that do not go with a model."""

import shutil

from diffax import runs
from tests.jobs.test_reflow import FLOW


def test_a_run_is_distilled_continued_and_refused(command, tmp_path):
    first, second, steps = tmp_path / "first", tmp_path / "second", "--config.train.num_steps=3"
    assert command(*FLOW, "--workdir", first)[0] == 0
    teacher = f"--config.loss.teacher={first}"
    # Consistency distillation, with a curriculum, by Heun's method.
    distill = (*FLOW, "--workdir", second, teacher, "--config.loss.name=consistency", "--config.loss.solver=heun")
    code, out, err = command(*distill)
    assert code == 0 and f"loss.teacher = '{first}': step 2, average 'constant'" in out, err
    assert runs.open(second).config.loss.teacher == str(first)
    code, _, err = command(*distill, steps)
    assert code == 2 and "moves the end of the curriculum of loss 'consistency', and so changes the objective" in err
    code, _, err = command(*distill, steps, "--allow_change=train.num_steps")
    assert code == 0 and runs.open(second).step == 3, err

    # Its teacher is gone, and found again.
    moved = tmp_path / "moved"
    shutil.move(first, moved)
    more = ("--config.train.num_steps=4", "--allow_change=train.num_steps,loss.teacher")
    code, _, err = command(*distill, *more)
    assert code == 2 and f"loss.teacher = '{first}': {first} is no run's directory" in err and err.count("\n") == 1
    assert "continue by --allow_change=loss.teacher" in err
    code, _, err = command(*distill, *more, f"--config.loss.teacher={moved}")
    assert code == 0 and runs.open(second).step == 4, err

    teacher = f"--config.loss.teacher={moved}"
    for arguments, said in (
        (("--config.data.num_points=77",), "is a teacher of other data: count: "),
        (("--config.schedule.name=cosine",), "was trained on other noise: schedule.name: flow -> cosine"),
        (("--config.loss.teacher_guidance=2",), "is told no conditions, and guidance needs one"),
        ((f"--config.loss.teacher={second}",), "predicts data, and no velocity (loss 'consistency')"),
    ):
        code, _, err = command(*FLOW, "--workdir", tmp_path / "none", teacher, *arguments)
        assert code == 2 and said in err and err.count("\n") == 1, err
    assert not (tmp_path / "none").exists()
