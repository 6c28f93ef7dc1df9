"""Calls: what can be asked, how errors read, threads, signals and processes."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import stepfn


@pytest.fixture(scope="module")
def verse() -> stepfn.LanguageModel:
    return stepfn.load("verse")


def test_parts_of_a_text(verse: stepfn.LanguageModel) -> None:
    whole = "In the beginning God created the heaven"
    other = "In the beginning God created the waters"
    parts = {"function": "contrast_prob_diff", "from_": 9}
    by_name = verse.attribute(whole, contrast=other, **parts)
    for same in (
        verse.attribute(target=whole, contrast=other, **parts),
        verse.attribute({"target": whole, "contrast_target": other}, **parts),
        verse.attribute({"text": whole}, contrast=other, **parts),
    ):
        np.testing.assert_array_equal(same.target_scores, by_name.target_scores)
    assert [token.text for token in by_name.tokens] == [" heaven"]
    assert by_name.contrast[0] is not None and by_name.contrast[0].text == " waters"
    prompt = verse.attribute(source="In the beginning", target=whole)
    assert prompt.steps.start > 1 and prompt.source_text == "In the beginning"
    kept = verse.score([{"target": whole, "item": 3, "id": "x"}], keep="*")
    assert kept[0].fields == {"item": 3} and kept[0].id == "x"


def test_parameters_go_to_all_that_have_them(verse: stepfn.LanguageModel) -> None:
    answer = verse.attribute("Let there be light", "lime", n_samples=20, seed=1, step_scores=["probability"], logprob=True)
    assert answer.about["parameters"]["n_samples"] == 20
    assert answer.about["attributed_fn"] == "probability" and (answer.step_scores["probability"] < 0).all()
    named = verse.attribute("Let there be light", stepfn.Method("lime", n_samples=20), seed=1)
    assert named.about["parameters"]["n_samples"] == 20
    one = verse.score("Let there be", [stepfn.StepFunction("probability", logprob=True), "perplexity"])
    np.testing.assert_allclose(np.exp(-one["probability"]), one["perplexity"], rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "kind", "says"),
    [
        (lambda model: model.attribute("a b", "salency"), ValueError, "did you mean `saliency`?"),
        (lambda model: model.attribute("a b", function="entropi"), ValueError, "did you mean `entropy`?"),
        (lambda model: model.attribute("a b", "lime", n_sample=3), ValueError, "no parameter `n_sample` \\(did you mean `n_samples`"),
        (lambda model: model.attribute("a b", "lime", n_samples=-1), ValueError, "`n_samples` must be a whole number from"),
        (lambda model: model.attribute("a b", function="kl_divergence"), ValueError, "needs a contrast"),
        (lambda model: model.attribute("a b", features="chapters"), ValueError, "no features `chapters`"),
        (lambda model: model.attribute("a b", from_=99), ValueError, "99"),
        (lambda model: model.attribute(["a b"], target="a b c"), ValueError, "for several texts"),
        (lambda model: model.attribute(3), ValueError, "a text is a string or a dict, not int"),
        (lambda model: model.attribute(), ValueError, "there is no text"),
        (lambda model: model.score("a b", "probabilty"), ValueError, "did you mean `probability`?"),
        (lambda model: model.score({"sauce": "a"}), ValueError, "did you mean `source`?"),
        (lambda model: model.score("a b", []), ValueError, "no step functions"),
        (lambda model: model.score("\ud800 b"), ValueError, "half of a character"),
        (lambda model: model.score("a b", from_=-1), ValueError, "`from_` must be a whole number from 0 on, not -1"),
        (lambda model: model.score("a b", seed=1.5), ValueError, "`seed` must be a whole number from 0 on, not 1.5"),
        (lambda model: model.score("a b", memory="1GB"), ValueError, "`memory` must be a whole number"),
        (lambda model: model.score("a b", progress="x"), ValueError, "`progress` must be"),
        (lambda model: model.attribute("a b", aggregate=3), ValueError, "`aggregate` must be the stages"),
        (lambda model: model.attribute("a b", contrast="a c", align="0:0"), ValueError, "`align` must be pairs"),
        (lambda model: model.attribute("a b", "occlusion", target_spans="x"), ValueError, "`target_spans` must be"),
        (lambda model: model.attribute({"columns": 1}), ValueError, "unknown field `columns`"),
        (lambda model: model.decode([-1]), ValueError, "`ids` must be a whole number"),
        (lambda model: model.tokenize(None), ValueError, "a text is a string, not NoneType"),
        (lambda model: model.attribute("a b").minus(None), ValueError, "no difference to NoneType"),
        (lambda model: stepfn.write([model.attribute("a b"), model.score("a b")], "json"), ValueError, "several kinds"),
        (lambda _: stepfn.register_step_function(3), ValueError, "3 is no function"),
        (lambda _: stepfn.register_method(lambda passes: None, "x y"), ValueError, "can't be a name"),
        (lambda model: model.score(["a b", "", "c"]), ValueError, "text 1: "),
        (lambda model: model.generate("a " * 3_000_000), ValueError, "split the text"),
        (lambda _: stepfn.load("nothing/here/at all"), OSError, "there is no model"),
        (lambda _: stepfn.load("verse", dtype="f8"), ValueError, "choose one of f64, f32, f16, bf16 and int8"),
        (lambda _: stepfn.load("verse", backend="tpu"), ValueError, "no backend `tpu`"),
        (lambda _: stepfn.load("verse", generation={"num_beam": 2}), ValueError, "did you mean `num_beams`?"),
        (lambda _: stepfn.load("verse", device="7"), RuntimeError, "device"),
        (lambda _: stepfn.describe("entropi"), ValueError, "did you mean `entropy`?"),
    ],
)
def test_errors_say_what_is_wrong_and_what_to_do(verse: stepfn.LanguageModel, call: object, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says) as raised:
        call(verse)  # type: ignore[operator]
    assert isinstance(raised.value, stepfn.Error)
    assert raised.value.hint and "(help: " in str(raised.value)


def test_texts_that_fail_can_be_returned(verse: stepfn.LanguageModel) -> None:
    found = verse.score(["Let there be", {"target": "", "id": "empty"}, "light"], errors="return")
    assert isinstance(found[1], stepfn.UsageError) and found[1].id == "empty"
    assert len(found.ok) == 2 and list(found.columns()["id"])[-1] == "2"


def test_what_to_know_before_trusting_a_number_is_told(verse: stepfn.LanguageModel) -> None:
    with pytest.warns(stepfn.NumbersWarning, match="miss what they should add up to.*1 of 2 texts"):
        answers = verse.attribute(["Let there be light", "And there was light"], "integrated_gradients", n_steps=1)
    assert all(answer.warnings for answer in answers)


def test_a_data_frame_is_no_text(verse: stepfn.LanguageModel) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"target": ["Let there be", "light"], "item": [1, 2]})
    with pytest.raises(stepfn.UsageError, match="has many columns"):
        verse.score(frame)
    assert len(verse.score(frame["target"])) == 2
    assert verse.score(frame.to_dict("records"), keep="item")[1].fields == {"item": 2}


def test_two_threads_score_at_once(verse: stepfn.LanguageModel) -> None:
    text = "And God said, Let there be light: and there was light."
    expected = verse.score(text, "surprisal")["surprisal"]
    found: dict[int, list[bool]] = {0: [], 1: []}

    def work(number: int) -> None:
        for _ in range(20):
            found[number].append(bool(np.allclose(verse.score(text, "surprisal")["surprisal"], expected)))

    threads = [threading.Thread(target=work, args=(number,)) for number in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(one) == 20 and all(one) for one in found.values())


def test_the_lock_is_released_while_a_model_works(verse: stepfn.LanguageModel) -> None:
    ticks: list[float] = []
    done = threading.Event()

    def tick() -> None:
        while not done.is_set():
            ticks.append(time.monotonic())
            time.sleep(0.002)

    ticker = threading.Thread(target=tick)
    ticker.start()
    start = time.monotonic()
    verse.attribute("And God said, Let there be light. " * 6, "integrated_gradients", n_steps=100)
    took = time.monotonic() - start
    done.set()
    ticker.join()
    assert took > 0.1
    longest = max(after - before for before, after in zip(ticks, ticks[1:], strict=False))
    assert longest < max(0.5 * took, 0.1)


def seconds_after_ctrl_c(work: Callable[[], Any], press_after: float) -> float:
    """How long work goes on after somebody has pressed Ctrl-C."""
    pressed: list[float] = []

    def press() -> None:
        pressed.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    # A process that was started in the background may ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(press_after, press)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            work()
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, before)
    return time.monotonic() - pressed[0]


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal to itself")
@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion", "sequential_integrated_gradients", None])
def test_ctrl_c_ends_the_work_soon(verse: stepfn.LanguageModel, method: str | None) -> None:
    def work() -> Any:
        if method is None:
            # One layer takes seconds.
            return verse.score(["And God said, Let there be light. " * 2_000] * 20, "rank")
        return verse.attribute(["And God said, Let there be light. " * 10] * 20, method)

    # Within half a second; other processes may keep the cores busy.
    assert seconds_after_ctrl_c(work, 0.3 if method else 1.5) < 2
    # The model is as good as before.
    assert verse.score("Let there be", "rank")["rank"].shape == (3,)


def test_progress_is_told_and_can_end_the_work(verse: stepfn.LanguageModel) -> None:
    told: list[tuple[int, int, int, int]] = []
    verse.attribute(["Let there be", "light"], progress=lambda *state: told.append(state))
    assert told[-1][0] == 2 and [state[0] for state in told] == sorted(state[0] for state in told)

    def stop(*_: int) -> None:
        raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        verse.attribute(["Let there be"] * 3, progress=stop)


def test_models_are_pickled_by_name(verse: stepfn.LanguageModel) -> None:
    again = pickle.loads(pickle.dumps(stepfn.load("verse", generation={"max_new_tokens": 2})))
    assert again.name == "verse" and len(again.generate("Let there")[0].ids) == 2
    assert len(pickle.dumps(verse)) < 1000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_is_told() -> None:
    program = (
        "import os, stepfn\n"
        "model = stepfn.load('verse')\n"
        "model.score('Let there be')\n"
        "if os.fork():\n"
        "    raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
        "try:\n"
        "    model.score('Let there be')\n"
        "except stepfn.UsageError as error:\n"
        "    os._exit(7 if 'forked' in str(error) else 8)\n"
        "os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 7


def test_importing_is_quick_and_silent() -> None:
    program = "import time; start = time.perf_counter(); import stepfn; print(time.perf_counter() - start)"
    runs = [subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True) for _ in range(3)]
    assert min(float(run.stdout) for run in runs) < 0.1 and all(run.stderr == "" for run in runs)


def test_what_there_is_can_be_listed() -> None:
    assert stepfn.list_models() == ["g2p", "verse"]
    assert {"saliency", "occlusion"} <= set(stepfn.list_methods()) and "entropy" in stepfn.list_step_functions()
    assert "gpt2" in stepfn.list_families() and "cpu" in stepfn.list_backends() and "subwords" in stepfn.list_aggregators()
    assert stepfn.describe("lime")["parameters"]["n_samples"] > 0


def test_tokens_and_their_text(verse: stepfn.LanguageModel) -> None:
    tokens = verse.tokenize("Let there be", special_tokens=False)
    assert [token.text for token in tokens] == ["Let", " there", " be"]
    ids = [token.id for token in tokens if token.id is not None]
    assert verse.decode(ids) == "Let there be"
    end = stepfn.load("g2p").special_token("eos")
    assert end is not None and stepfn.load("g2p").tokenize("hi")[-1].id == end.id
