"""A network on torch, for whole clips and for backends on a CPU or on CUDA. See `Runtime`."""

from streamcab.nn.backend.cuda import CudaBackend
from streamcab.nn.backend.pieces import Floats
from streamcab.nn.backend.torch import TorchBackend
from streamcab.nn.cabcnn import CabCnn
from streamcab.nn.weights import Net


class TorchNet:
    """See Runtime. Threads are those of the whole process."""

    def __init__(self, net: Net, device: str = "cpu", precision: str = "f32") -> None:
        self.architecture = net.architecture
        self._model = CabCnn.of(net).eval().to(device)
        self._device, self._precision = device, precision

    def clip(self, x: Floats) -> Floats:
        """See Runtime."""
        return self._model.clip(x)

    def backend(self, slots: int) -> TorchBackend:
        """See Runtime."""
        if self._device == "cpu":
            return TorchBackend(self._model, slots, self._device, self._precision)
        return CudaBackend(self._model, slots, self._device, self._precision)
