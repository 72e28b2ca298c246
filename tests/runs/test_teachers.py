"""Teachers that do not go with a model, found without their parameters."""

import pytest

from diffax import config as settings
from diffax import resolve
from diffax.conditions import Classes
from diffax.runs import DataDescription, Model, UserError, teachers
from diffax.sweeps import programs


def model(shape=(2,), kinds=None, fingerprint=None, **overrides):
    chosen = {"model": "tests.tiny:Network", "sampler.num_steps": "2"} | overrides
    config = resolve.resolve(resolve.override(settings.default(), chosen.items()))
    return Model.build(config, DataDescription("points", shape, kinds=kinds or {}, fingerprint=fingerprint))


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        ({"shape": (2,)}, {"shape": (3,)}, r"is a teacher of other data: shape: \(3,\) -> \(2,\)"),
        (
            {"fingerprint": {"count": 60, "sample": "a"}},
            {"fingerprint": {"count": 61, "sample": "a"}},
            "is a teacher of other data: count: 61 -> 60$",
        ),
        ({}, {"kinds": {"label": Classes(3)}}, "is told 'label', and this model is not: give it the same conditions"),
        ({}, {"schedule": "flow"}, "was trained on other noise: schedule.name: flow -> cosine"),
        ({"noise": "pfgmpp"}, {}, "was trained on other noise: noise"),
    ],
)
def test_refused(student, teacher, message):
    same = model(**student)
    teachers._check("loss.teacher = 'run'", same, same)
    with pytest.raises(UserError, match=f"loss.teacher = 'run' {message}"):
        teachers._check("loss.teacher = 'run'", same, model(**teacher))


def test_points_of_a_sweep_with_a_teacher_have_programs_of_their_own():
    assert programs.can_share(model().config)
    assert not programs.can_share(model(**{"loss.teacher": "run"}).config)
