"""The ACB: forty classifiers as one product are forty, and c_t is their mean weighed by attention."""

import numpy as np
import torch

from streamcab.nn.acb import Acb, Classifiers


def lively(seed: int, features: int = 128, labels: int = 3, classifiers: int = 40) -> Acb:
    draw = torch.Generator().manual_seed(seed)
    acb = Acb(features, labels, classifiers, (8, 4), (160, 80)).eval()
    with torch.no_grad():
        for p in acb.parameters():
            p.copy_(torch.randn(p.shape, generator=draw) * (0.5 if p.ndim == 1 else 2 / p.shape[-1] ** 0.5))
    return acb


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max())
    return e / e.sum()


def by_loops(acb: Acb, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """c_t and attention of one interval: one classifier after the other, in double precision."""
    y = a
    for i, layer in enumerate(acb.attention):
        y = layer.weight.detach().double().numpy() @ y + layer.bias.detach().double().numpy()
        y = np.maximum(y, 0) if i < 2 else y
    alpha = softmax(y)
    c = 0.0
    for n in range(acb.classifiers.n):
        y = a
        for i in range(3):
            y = y @ acb.classifiers.weights[i][n].detach().double().numpy()
            y = y + acb.classifiers.biases[i][n].detach().double().numpy()
            y = np.maximum(y, 0) if i < 2 else y
        c = c + alpha[n] * softmax(y)
    return c, alpha


def test_the_batched_product_is_the_loop_over_classifiers() -> None:
    acb = lively(0)
    a = torch.randn(2, 5, 128, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        c, alpha = acb(a)
    for b in range(2):
        for k in range(5):
            c_loop, alpha_loop = by_loops(acb, a[b, k].double().numpy())
            np.testing.assert_allclose(c[b, k].numpy(), c_loop, atol=1e-5)
            np.testing.assert_allclose(alpha[b, k].numpy(), alpha_loop, atol=1e-5)


def test_layers_have_the_papers_sizes() -> None:
    acb = Acb(128, 3, 40, (8, 4), (160, 80))
    assert [tuple(w.shape) for w in acb.classifiers.weights] == [(40, 128, 8), (40, 8, 4), (40, 4, 3)]
    assert [tuple(b.shape) for b in acb.classifiers.biases] == [(40, 8), (40, 4), (40, 3)]
    assert [tuple(layer.weight.shape) for layer in acb.attention] == [(160, 128), (80, 160), (40, 80)]


def test_probabilities_and_attention_sum_to_one_even_for_wild_inputs() -> None:
    acb = lively(2, labels=7)
    a = torch.randn(64, 128, generator=torch.Generator().manual_seed(3)) * 1e3
    with torch.inference_mode():
        c, alpha = acb(a)
    assert c.shape == (64, 7)
    assert alpha.shape == (64, 40)
    for p in (c, alpha):
        assert (p >= 0).all()
        torch.testing.assert_close(p.sum(-1), torch.ones(64), rtol=0, atol=1e-5)


def test_an_interval_is_answered_without_regard_to_its_neighbours() -> None:
    acb = lively(4)
    a = torch.randn(1, 6, 128, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        whole, _ = acb(a)
        alone, _ = acb(a[:, 3])
    torch.testing.assert_close(whole[:, 3], alone, rtol=0, atol=1e-6)


def test_a_classifiers_weights_touch_its_own_answer_only() -> None:
    torch.manual_seed(0)
    classifiers = Classifiers(5, (12, 8, 4, 3))
    a = torch.randn(9, 12)
    before = classifiers(a)
    with torch.no_grad():
        for weight in classifiers.weights:
            weight[2] += 1.0
    moved = (classifiers(a) != before).any(-1).any(0)
    assert moved.tolist() == [False, False, True, False, False]
