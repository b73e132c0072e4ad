"""Work recorded as CUDA graphs: done once a call, on the tensors of that call, and in its order."""

from __future__ import annotations

import gc
import pickle
import threading
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from ranksrgan.contracts import recording as module
from ranksrgan.contracts.errors import NotSupported, RequestCancelled, ServiceUnavailable
from ranksrgan.contracts.recording import WARM_UP, Recording, Repeats, in_between, recording

CALLS = WARM_UP + 4
CPU = torch.device("cpu")


class Pretended:
    """A GPU that does what it is given at once; what it repeats of a graph is nothing."""

    def __init__(self) -> None:
        self.capturing = False
        self.device = torch.device("cpu", 0)
        self.events: list[str] = []
        self.refuses = False

    def wait_stream(self, stream: object) -> None: ...

    def wait_event(self, event: object) -> None: ...

    def record(self, stream: object) -> None: ...

    def clone_state(self) -> str:
        return "before"

    def graphsafe_set_state(self, state: str) -> None:
        self.events.append(f"chance as {state}")

    def replay(self) -> None:
        self.events.append("replay")

    def graph(self, *_: object, **__: object) -> Pretended:
        return self

    def __enter__(self) -> None:
        self.capturing = True

    def __exit__(self, *_: object) -> None:
        self.capturing = False
        if self.refuses:
            raise RuntimeError("operation not permitted")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    pretended = Pretended()
    cuda = torch.cuda
    for name in ("Stream", "Event", "CUDAGraph", "current_stream"):
        monkeypatch.setattr(cuda, name, lambda *_: pretended)
    for name in ("stream", "device"):
        monkeypatch.setattr(cuda, name, lambda _: nullcontext())
    for name in ("set_stream", "synchronize"):
        monkeypatch.setattr(cuda, name, lambda _, name=name: pretended.events.append(name))
    monkeypatch.setattr(cuda, "graph", pretended.graph)
    monkeypatch.setattr(cuda, "graph_pool_handle", lambda: (0, 0))
    monkeypatch.setattr(cuda, "current_device", lambda: 0)
    monkeypatch.setattr(cuda, "default_generators", (pretended,))
    monkeypatch.setattr(module, "recording", lambda: pretended.capturing)
    monkeypatch.setattr(module, "_streams", {})
    return pretended


class Work:
    """Counts how often Python does it; ``fails`` once with an error."""

    def __init__(self) -> None:
        self.done = 0
        self.fails: Exception | None = None

    def __call__(self, x: Tensor) -> tuple[Tensor]:
        if self.fails is not None:
            error, self.fails = self.fails, None
            raise error
        self.done += 1
        return (x + 1,)


def test_work_is_done_by_python_until_it_is_recorded(gpu: Pretended) -> None:
    work = Work()
    recorded = Recording(work, CPU)
    for _ in range(CALLS):
        recorded(torch.ones(2))
    assert work.done == WARM_UP + 1
    assert gpu.events == ["replay"] * (CALLS - WARM_UP)
    recorded.close()
    recorded(torch.ones(2))
    assert work.done == WARM_UP + 2
    assert gpu.events[-1] == "synchronize"


def test_calls_that_fail_do_not_count(gpu: Pretended) -> None:
    work = Work()
    recorded = Recording(work, CPU)
    for _ in range(CALLS):  # each the second time, and the one that records as well
        work.fails = RequestCancelled("the client has gone")
        with pytest.raises(RequestCancelled):
            recorded(torch.ones(2))
        recorded(torch.ones(2))
        if recorded.is_recorded:
            break
    assert work.done == WARM_UP + 1
    assert gpu.events == ["replay"]


def test_a_thread_that_has_not_warmed_up_does_not_record(gpu: Pretended) -> None:
    work = Work()
    recorded = Recording(work, CPU)
    for _ in range(WARM_UP):
        recorded(torch.ones(2))
    other = threading.Thread(target=recorded, args=(torch.ones(2),))
    other.start()
    other.join()
    assert not recorded.is_recorded
    recorded(torch.ones(2))
    assert recorded.is_recorded


def test_what_cannot_be_recorded_is_done_by_python(
    gpu: Pretended, caplog: pytest.LogCaptureFixture
) -> None:
    gpu.refuses = True
    work = Work()
    recorded = Recording(work, CPU, "a sum")
    for _ in range(CALLS):
        assert recorded(torch.ones(2))[0].tolist() == [2, 2]
    assert work.done == CALLS + 1
    assert gpu.events == ["set_stream", "chance as before"]
    assert "a sum is launched kernel by kernel: no CUDA graph of it (operation not" in caplog.text


def test_a_recording_has_its_stream_alone(gpu: Pretended, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_STREAMS", 2)
    monkeypatch.setattr(torch.cuda, "Stream", lambda _: Pretended())
    owners = [Pretended(), Pretended(), Pretended()]
    first, second, third = (module.take_stream(owner, CPU) for owner in owners)
    assert first is not second
    assert third is None
    del owners[0]
    gc.collect()
    assert module.take_stream(owners[1], CPU) is first
    # Without one the work is done as ever.
    work = Work()
    recorded = Recording(work, CPU)
    for _ in range(CALLS):
        recorded(torch.ones(1))
    assert work.done == CALLS
    assert not recorded.is_recorded


def test_other_work_is_left_in_its_place(gpu: Pretended) -> None:
    def work(x: Tensor) -> Tensor:
        in_between(lambda: gpu.events.append("asked"))
        return x

    recorded = Recording(work, CPU)
    for _ in range(WARM_UP):
        recorded(torch.ones(1))
    assert gpu.events == ["asked"] * WARM_UP
    gpu.events.clear()
    for _ in range(2):
        recorded(torch.ones(1))
    assert gpu.events == ["replay", "asked", "replay"] * 2


def test_what_repeats_is_recorded_and_what_fails_takes_no_place(gpu: Pretended) -> None:
    work = Work()
    repeats = Repeats(work, CPU, "a test", largest=10, kept=2)
    for _ in range(CALLS + 1):
        for size in (2, 3):
            repeats(torch.ones(size))
        for size in (4, 5, 6):
            work.fails = RequestCancelled("the client has gone")
            with pytest.raises(RequestCancelled):
                repeats(torch.ones(size))
        repeats(torch.ones(11))
    # The first time of each, its warm-up and its recording; what is too large each time.
    assert work.done == 2 * (1 + WARM_UP + 1) + CALLS + 1
    with torch.autocast("cpu", torch.bfloat16):
        repeats(torch.ones(2))
    assert work.done == 2 * (1 + WARM_UP + 1) + CALLS + 2
    repeats(torch.ones(4))
    assert gpu.events[-1] == "synchronize"  # before the memory of the first one is given back
    copied = pickle.loads(pickle.dumps(Repeats(Work(), CPU, "a test", largest=10)))
    assert copied(torch.ones(2))[0].tolist() == [2, 2]


def test_what_is_not_recorded_is_done_at_once() -> None:
    done: list[str] = []
    in_between(lambda: done.append("now"))
    assert done == ["now"]
    assert not recording()


@pytest.mark.cuda
def test_work_is_done_once_a_call_and_on_the_tensors_of_that_call() -> None:
    total = torch.zeros((), device="cuda")

    def work(images: Tensor) -> Tensor:
        total.add_(images.to("cuda").float().sum())
        return total + 1

    recorded = Recording(work, torch.device("cuda"))
    expected = 0
    for value in range(CALLS):
        result = recorded(torch.full((1, 3, 8, 8), value, dtype=torch.uint8))
        expected += 192 * value
        assert result.item() == expected + 1
    assert total.item() == expected


@pytest.mark.cuda
def test_work_that_reads_from_the_gpu_is_done_without_a_recording(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls: list[float] = []

    def work(images: Tensor) -> Tensor:
        found = images.to("cuda").float().sum()
        calls.append(found.item())
        return found

    recorded = Recording(work, torch.device("cuda"), "a sum")
    for value in range(CALLS):
        assert recorded(torch.full((1, 1, 2, 2), value, dtype=torch.uint8)).item() == 4 * value
    assert calls == [4.0 * value for value in range(CALLS)]
    assert "a sum is launched kernel by kernel: no CUDA graph" in caplog.text
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    assert torch.rand(2, device="cuda").unique().numel() == 2  # chance is in order too


@pytest.mark.cuda
def test_other_work_in_between_sees_what_was_before_and_is_seen_by_what_comes_after() -> None:
    asked: list[float] = []

    def work(x: Tensor) -> Tensor:
        halved = x / 2
        answer = torch.empty((), device="cuda")

        def ask() -> None:
            asked.append(halved.sum().item())
            answer.fill_(10 * asked[-1])

        in_between(ask)
        half_way = answer + halved[0]

        def ask_again() -> None:
            answer.fill_(half_way.item() + 1)

        in_between(ask_again)
        return answer * 2

    recorded = Recording(work, torch.device("cuda"))
    for value in range(CALLS):
        x = torch.full((4,), float(value), device="cuda")
        assert recorded(x).item() == 2 * (10 * 2 * value + value / 2 + 1)
    assert asked == [2.0 * value for value in range(CALLS)]


@pytest.mark.cuda
def test_gradients_go_through_what_is_recorded_in_parts() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(3, 4, 3, device="cuda")

    def work(x: Tensor) -> Tensor:
        layer.zero_grad()
        made = layer(x)
        factor = torch.empty((), device="cuda")
        in_between(lambda: factor.fill_(made.detach().sum().item()))
        (factor * made.square().mean()).backward()
        assert layer.weight.grad is not None
        return layer.weight.grad

    recorded = Recording(work, torch.device("cuda"))
    for seed in range(CALLS):
        generator = torch.Generator("cuda").manual_seed(seed)
        x = torch.rand(2, 3, 9, 9, device="cuda", generator=generator)
        found = recorded(x).clone()
        torch.testing.assert_close(found, work(x), rtol=1e-5, atol=1e-6)


@pytest.mark.cuda
def test_work_in_between_that_fails_ends_the_call_and_not_the_recording() -> None:
    state = torch.zeros((), device="cuda")
    gone = [False]

    def ask() -> None:
        if gone[0]:
            raise ServiceUnavailable("it has gone")

    def work(x: Tensor) -> Tensor:
        doubled = 2 * x
        in_between(ask)
        state.add_(doubled)
        return state + 0

    recorded = Recording(work, torch.device("cuda"))
    one = torch.ones((), device="cuda")
    for _ in range(CALLS):
        recorded(one)
    gone[0] = True
    with pytest.raises(ServiceUnavailable):
        recorded(one)
    assert state.item() == 2 * CALLS
    gone[0] = False
    assert recorded(one).item() == 2 * CALLS + 2


@pytest.mark.cuda
def test_a_graph_of_somebody_elses_waits_for_nothing() -> None:
    stream = torch.cuda.Stream()
    graph = torch.cuda.CUDAGraph()
    state = torch.zeros(1, device="cuda")
    with torch.cuda.graph(graph, stream=stream):
        state.add_(1)
        with pytest.raises(NotSupported, match="somebody"):
            in_between(lambda: None)


@pytest.mark.cuda
def test_results_of_what_repeats_are_the_callers() -> None:
    recorded_shapes: list[tuple[int, ...]] = []

    def work(x: Tensor) -> tuple[Tensor, Tensor]:
        if recording():
            recorded_shapes.append(tuple(x.shape))
        return x * 2, x.sum()

    repeats = Repeats(work, torch.device("cuda"), "a test", largest=100, kept=2)
    found = []
    for value in range(CALLS):
        for size in (3, 5):
            with torch.inference_mode(value % 2 == 1):
                found.append((size, value, repeats(torch.full((size,), float(value)).cuda())))
    for size, value, (doubled, total) in found:
        assert doubled.tolist() == [2.0 * value] * size
        assert total.item() == size * value
    assert recorded_shapes == [(3,), (5,)]
    # Too large, or within something else that is recorded, or by turns with too many others.
    for _ in range(CALLS):
        for size in (101, 7, 8, 9):
            assert repeats(torch.ones(size, device="cuda"))[1].item() == size
    assert recorded_shapes == [(3,), (5,)]
    outer = Recording(lambda x: repeats(x)[0] + 1, torch.device("cuda"))
    for value in range(CALLS):
        assert outer(torch.full((3,), float(value), device="cuda")).tolist() == [2 * value + 1] * 3
