"""A GPU that does not do: found out, told, and passed over where nobody asked for it by name.

None is needed: what torch and the driver would say of one is pretended.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from small_models import CLIP, write_model

from clipcli.engines.base import (
    EngineOptions,
    TooLittleMemoryError,
    UnusableDeviceError,
)
from clipcli.engines.choice import load_engine
from clipcli.engines.onnx import OnnxEngine
from clipcli.engines.prompts import encode_prompts
from clipcli.engines.torch import devices, openclip
from clipcli.engines.torch.openclip import OpenClipEngine
from clipcli.errors import ClipcliWarning, ModelError, UsageError
from clipcli.models.names import resolve_model
from clipcli.models.specs import ModelRequest

TODAY = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]
NO_KERNEL = "CUDA error: no kernel image is available for execution on the device"
Pretend = Callable[..., None]


@pytest.mark.parametrize(
    ("capability", "built_for", "expected"),
    [
        ((8, 0), TODAY, True),
        ((8, 9), TODAY, True),  # by 8.6's
        ((9, 0), TODAY, True),
        ((12, 1), TODAY, True),
        ((6, 1), TODAY, False),
        ((7, 0), TODAY, False),
        ((11, 0), TODAY, False),
        ((13, 0), TODAY, False),
        ((13, 0), [*TODAY, "compute_120"], True),
        ((12, 0), ["sm_90", "compute_90"], True),
        ((8, 9), ["sm_90", "compute_90"], False),
        ((5, 2), ["sm_50"], True),
        ((9, 0), ["sm_90a"], True),
        ((9, 1), ["sm_90a"], False),
        ((10, 3), ["compute_100a"], False),
        ((10, 3), ["sm_100f"], True),
        ((10, 3), ["compute_100f"], True),
        ((11, 0), ["sm_100f"], False),
        ((11, 0), ["compute_100f"], False),
        ((9, 4), ["gfx942", "gfx90a"], True),  # AMD's
        ((9, 0), [], True),
    ],
)
def test_whether_a_torch_has_kernels_for_a_gpu(
    capability: tuple[int, int], built_for: list[str], expected: bool
) -> None:
    assert devices.has_kernels(capability, built_for) is expected


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """Pretends GPUs of these compute capabilities; what they compute, the processor does."""

    def pretend(*capabilities: tuple[int, int], error: Exception | None = None) -> None:
        def arithmetic(device: torch.device, dtype: torch.dtype) -> str:
            if error is not None:
                raise error
            return ""

        def capability(device: torch.device) -> tuple[int, int]:
            return capabilities[device.index or 0]

        monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(capabilities))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(capabilities))
        monkeypatch.setattr(torch.cuda, "get_device_capability", capability)
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: TODAY)
        monkeypatch.setattr(devices, "_arithmetic_fault", arithmetic)
        monkeypatch.setattr("clipcli.engines.hardware.cuda_available", lambda: bool(capabilities))

    return pretend


class TestFinding:
    @pytest.mark.parametrize(
        ("capabilities", "expected"),
        [([(9, 0)], "cuda"), ([(5, 0), (8, 6)], "cuda:1"), ([(8, 0), (9, 0)], "cuda")],
    )
    def test_the_first_that_computes_is_taken(
        self, gpus: Pretend, capabilities: list[tuple[int, int]], expected: str
    ) -> None:
        gpus(*capabilities)
        assert str(devices.find_device("auto", torch.float32)) == expected

    @pytest.mark.parametrize("name", ["cuda", "cuda:0", "auto"])
    def test_one_without_kernels_is_refused(self, gpus: Pretend, name: str) -> None:
        gpus((6, 1))
        message = r"cuda.* cannot be used: torch .* no kernels for .* 6\.1 \(it has sm_75, .*cpu"
        with pytest.raises(UnusableDeviceError, match=message):
            devices.find_device(name, torch.float32)

    @pytest.mark.parametrize(
        "error",
        [
            torch.AcceleratorError(f"{NO_KERNEL}\nCUDA kernel errors might be\nreported later"),
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 MiB"),
            RuntimeError("Cannot re-initialize CUDA in forked subprocess. Use 'spawn'"),
            AssertionError("Torch not compiled with CUDA enabled"),
        ],
    )
    def test_what_it_says_at_the_first_try_is_told_in_a_line(
        self, gpus: Pretend, error: Exception
    ) -> None:
        gpus((9, 0), error=error)
        with pytest.raises(UnusableDeviceError) as caught:
            devices.find_device("cuda", torch.float16)
        assert str(caught.value) == f"cuda cannot be used: {str(error).splitlines()[0]}"

    def test_all_are_named_where_none_does(self, gpus: Pretend) -> None:
        gpus((5, 0), (6, 1))
        with pytest.raises(UnusableDeviceError, match=r"cuda cannot .* 5\.0 .*; cuda:1 .* 6\.1"):
            devices.find_device("auto", torch.float32)

    def test_a_number_too_high_is_a_usage_error(self, gpus: Pretend) -> None:
        gpus((9, 0))
        with pytest.raises(UsageError, match=r"cuda:1: torch .* finds 1 CUDA device"):
            devices.find_device("cuda:1", torch.float32)

    def test_a_driver_too_old_is_the_reason_that_is_given(
        self, gpus: Pretend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gpus()
        monkeypatch.setattr(devices, "cuda_trouble", lambda: "the driver is too old")
        with pytest.raises(UnusableDeviceError, match=r"--device cuda .*: the driver is too old"):
            devices.find_device("cuda", torch.float32)
        assert str(devices.find_device("auto", torch.float32)) == "cpu"

    def test_one_that_only_the_driver_sees_is_not_passed_over_in_silence(
        self, gpus: Pretend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gpus()
        monkeypatch.setattr(devices, "cuda_available", lambda: True)
        with pytest.raises(UnusableDeviceError, match="does not find the CUDA device"):
            devices.find_device("auto", torch.float32)


class TestExactness:
    """Whatever rounds fp32, wherever that was set."""

    @staticmethod
    def rounded(values: torch.Tensor) -> torch.Tensor:
        return values.bfloat16().float()

    def test_a_processor_is_exact(self) -> None:
        assert devices.fault(torch.device("cpu"), torch.float32) == ""

    @pytest.mark.parametrize("operation", ["matmul", "conv2d"])
    def test_one_that_rounds_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, operation: str
    ) -> None:
        owner = torch.Tensor if operation == "matmul" else torch.nn.functional
        name = "__matmul__" if operation == "matmul" else operation
        real = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda one, two: real(self.rounded(one), two))
        with pytest.raises(ModelError, match=r"fp32 is not exact; take NVIDIA_TF32_OVERRIDE"):
            devices.find_device("cpu", torch.float32)
        assert str(devices.find_device("cpu", torch.bfloat16)) == "cpu"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "clip"
    write_model(folder, CLIP)
    return folder


class TestFallingBack:
    """`tiny` is prepared, the other model is not."""

    @pytest.mark.parametrize(("engine", "expected"), [("auto", OnnxEngine), ("torch", None)])
    def test_the_next_engine_runs_and_one_line_says_why(
        self, gpus: Pretend, engine: str, expected: type | None
    ) -> None:
        gpus((6, 1))
        spec = resolve_model(ModelRequest("tiny"))
        with pytest.warns(ClipcliWarning, match=r"^the GPU is not used: .* 6\.1") as told:
            found = load_engine(spec, EngineOptions(engine=engine))
        assert len(told) == 1
        assert isinstance(found, expected or OpenClipEngine)
        assert " on cpu" in found.info.engine

    def test_without_a_prepared_model_that_is_torch_on_the_processor(
        self, gpus: Pretend, model: Path
    ) -> None:
        gpus((6, 1))
        with pytest.warns(ClipcliWarning, match="the GPU is not used"):
            found = load_engine(resolve_model(ModelRequest(str(model))), EngineOptions())
        assert isinstance(found, OpenClipEngine)

    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"device": "cuda"}, UnusableDeviceError),
            ({"device": "cuda:0", "precision": "bf16"}, UnusableDeviceError),
            ({"precision": "fp16"}, UnusableDeviceError),
        ],
    )
    def test_what_was_asked_for_by_name_is_not_replaced(
        self, gpus: Pretend, options: dict[str, str], error: type[Exception]
    ) -> None:
        gpus((6, 1))
        spec = resolve_model(ModelRequest("tiny"))
        with pytest.raises(error, match="no kernels"):
            load_engine(spec, EngineOptions(**options))  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("error", "words"),
        [
            (torch.OutOfMemoryError("CUDA out of memory."), "too little memory for the model"),
            (torch.AcceleratorError("CUDA error: device is busy\nhints"), "error: device is busy"),
            (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling"), "too little memory"),
        ],
    )
    @pytest.mark.parametrize("step", ["create_model", "load_weights"])
    def test_a_model_that_cannot_be_put_onto_it_is_a_fault_of_it(
        self,
        gpus: Pretend,
        monkeypatch: pytest.MonkeyPatch,
        step: str,
        error: Exception,
        words: str,
    ) -> None:
        gpus((9, 0))
        owner = openclip.open_clip if step == "create_model" else openclip

        def fail(*_arguments: object, **_options: object) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(owner, step, fail)
            patch.setattr(openclip, "borrowed", lambda *_: nullcontext())
            spec = resolve_model(ModelRequest("tiny"))
            with pytest.raises(UnusableDeviceError, match=f"^cuda cannot be used: .*{words}"):
                load_engine(spec, EngineOptions("cuda"))
            with pytest.warns(ClipcliWarning, match=words):
                assert isinstance(load_engine(spec, EngineOptions()), OnnxEngine)


class TestMemory:
    """An engine whose device holds so many rows at once."""

    ERRORS = (
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 5 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
        RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"
        ),
    )

    REAL: ClassVar = {"encode_image": openclip.encode_image, "encode_text": openclip.encode_text}

    @pytest.fixture
    def engine(self, model: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., OpenClipEngine]:
        def make(room: int, error: Exception) -> OpenClipEngine:
            options = EngineOptions("cpu", engine="torch")
            engine = load_engine(resolve_model(ModelRequest(str(model))), options)
            assert isinstance(engine, OpenClipEngine)
            self.runs: list[int] = []
            for name in ("encode_image", "encode_text"):
                real = self.REAL[name]

                def bounded(
                    model: object, rows: torch.Tensor, real: Callable[..., object] = real
                ) -> object:
                    self.runs.append(len(rows))
                    if len(rows) > room:
                        raise error
                    return real(model, rows)

                monkeypatch.setattr(openclip, name, bounded)
            return engine

        return make

    @pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error)[:30])
    @pytest.mark.parametrize("room", [1, 5, 63])
    def test_prompts_are_halved_until_they_fit(
        self, engine: Callable[..., OpenClipEngine], room: int, error: Exception
    ) -> None:
        prompts = [f"a photo of {'very ' * (number % 7)}{number}" for number in range(130)]
        expected = encode_prompts(engine(64, error), prompts)
        found = encode_prompts(engine(room, error), prompts)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
        failed = [count for count in self.runs if count > room]
        assert failed == sorted(failed, reverse=True)  # once each: it is remembered
        assert len(set(failed)) == len(failed)

    def test_a_single_prompt_that_does_not_fit_is_told_without_a_batch(
        self, engine: Callable[..., OpenClipEngine]
    ) -> None:
        with pytest.raises(TooLittleMemoryError, match=r"1 prompt\(s\): use a smaller model"):
            encode_prompts(engine(0, self.ERRORS[0]), ["a", "b"])

    @pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error)[:30])
    def test_images_ask_for_a_smaller_batch_as_long_as_there_is_one(
        self, engine: Callable[..., OpenClipEngine], error: Exception
    ) -> None:
        crowded = engine(0, error)
        images = np.zeros((3, 3, 32, 32), np.float32)
        with pytest.raises(UsageError, match=r"on cpu for 3 at once: use a smaller --batch-size"):
            crowded.encode_images(images)
        with pytest.raises(UsageError, match="1 at once: use a smaller model"):
            crowded.encode_images(images[:1])

    def test_gradients_have_another_way(
        self, engine: Callable[..., OpenClipEngine], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_arguments: object) -> None:
            raise self.ERRORS[0]

        monkeypatch.setattr("clipcli.engines.torch.gradients.encode_image", fail)
        with pytest.raises(UsageError, match="gradients: use --method occlusion, or use a"):
            engine(9, self.ERRORS[0]).gradient_maps(
                np.zeros((3, 32, 32), np.float32), np.zeros((1, 16), np.float32)
            )

    def test_what_found_room_is_let_go(
        self, engine: Callable[..., OpenClipEngine], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        crowded, held = engine(9, self.ERRORS[0]), []

        def fail(_model: object, rows: torch.Tensor) -> None:
            intermediate = rows + 1
            held.append(weakref.ref(intermediate))
            raise torch.OutOfMemoryError("out of memory")

        monkeypatch.setattr(openclip, "encode_image", fail)
        with pytest.raises(TooLittleMemoryError) as caught:
            crowded.encode_images(np.zeros((2, 3, 32, 32), np.float32))
        gc.collect()
        assert caught.value.__context__ is None
        assert [one() for one in held] == [None]

    def test_any_other_error_is_the_models(self, engine: Callable[..., OpenClipEngine]) -> None:
        broken = engine(0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
        with pytest.raises(ModelError, match="cannot run: mat1 and mat2 shapes cannot"):
            broken.encode_images(np.zeros((1, 3, 32, 32), np.float32))

    @pytest.mark.parametrize(
        "words", ["std::bad_alloc", "Failed to allocate memory for requested buffer of size 9"]
    )
    def test_a_prepared_model_says_the_same(
        self, monkeypatch: pytest.MonkeyPatch, words: str
    ) -> None:
        engine = load_engine(resolve_model(ModelRequest("tiny")), EngineOptions(engine="onnx"))
        assert isinstance(engine, OnnxEngine)

        class Session:
            def get_inputs(self) -> list[object]:
                return engine_inputs

            def run(self, _outputs: None, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
                (rows,) = feed.values()
                if len(rows) > 2:
                    raise ValueError(words)
                return [np.ones((len(rows), width), np.float32)]

        width, engine_inputs = engine.info.embed_dim, [type("Input", (), {"name": "input"})]
        monkeypatch.setattr(engine, "_session", lambda *_, **__: Session())
        with pytest.raises(UsageError, match="3 at once: use a smaller --batch-size"):
            engine.encode_images(np.zeros((3, 3, 64, 64), np.float32))
        assert encode_prompts(engine, list("abcde")).shape == (5, width)
