import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord
from hawthorn.client.tasks import Examples, Task, find_task
from hawthorn.client.training import Training, arrays_of, batches, evaluate, load_arrays, train
from hawthorn.strategies.errors import SettingError
from torch.nn import functional


def weights(model: torch.nn.Module) -> np.ndarray:
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach().numpy()


def trained(task: Task, *, epochs: int = 1, seed: int = 1, **options) -> np.ndarray:
    model = task.model(seed=1)
    train(model, task.train[:200], Training(epochs=epochs, **options), seed=seed)
    return weights(model)


@pytest.mark.parametrize("name", ["digits", "breast_cancer"])
def test_training_depends_on_its_seed_alone(name: str) -> None:
    task = find_task(name)
    torch.manual_seed(5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    first = trained(task)
    torch.manual_seed(6)
    assert np.array_equal(first, trained(task))
    assert not np.array_equal(first, trained(task, seed=2))
    torch.manual_seed(5)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_training_leaves_the_global_generator_alone(digits: Task) -> None:
    before = torch.get_rng_state()
    trained(digits)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_step_goes_down_the_gradient(digits: Task) -> None:
    model, examples = digits.model(seed=1), digits.train[:20]
    loss = functional.cross_entropy(model(torch.from_numpy(examples.x)), torch.from_numpy(examples.y))
    loss.backward()
    gradient = torch.nn.utils.parameters_to_vector([p.grad for p in model.parameters()]).numpy()
    before = weights(model)
    reported = train(model, examples, Training(epochs=1, batch_size=20, learning_rate=0.5), seed=1)
    np.testing.assert_allclose(weights(model), before - 0.5 * gradient, atol=1e-6)
    assert reported == pytest.approx(loss.item())


def test_steps_end_training_early(digits: Task) -> None:
    assert np.array_equal(trained(digits, epochs=5, steps=7), trained(digits, epochs=1, steps=7))
    assert not np.array_equal(trained(digits, steps=6), trained(digits, steps=7))
    assert np.array_equal(trained(digits, steps=7), trained(digits))  # 200 examples are 7 batches
    assert np.array_equal(trained(digits, steps=1000), trained(digits))


def test_the_proximal_term_keeps_the_weights_near_the_start(digits: Task) -> None:
    start = weights(digits.model(seed=1))
    free, held, tight = (np.linalg.norm(trained(digits, proximal=mu) - start) for mu in (0.0, 1.0, 5.0))
    assert tight < held < free


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("name", ["digits", "breast_cancer"])
def test_training_is_that_of_torchs_own_optimizer(name: str, momentum: float) -> None:
    task = find_task(name)
    own, model = task.model(seed=1), task.model(seed=1)
    training = Training(epochs=2, batch_size=16, learning_rate=0.2, momentum=momentum, proximal=0.3)
    examples = task.train[:70]
    reported = train(own, examples, training, seed=4, loss=task.loss)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=momentum)
    start = [parameter.detach().clone() for parameter in model.parameters()]
    losses = []
    for batch in batches(len(examples), training, seed=4):
        optimizer.zero_grad()
        mean = task.loss(model(torch.from_numpy(examples.x)[batch]), torch.from_numpy(examples.y)[batch]).mean()
        pull = sum(((p - s) ** 2).sum() for p, s in zip(model.parameters(), start, strict=True))
        (mean + 0.15 * pull).backward()
        optimizer.step()
        losses.append(mean.item())
    np.testing.assert_allclose(weights(own), weights(model), rtol=1e-4, atol=1e-6)
    assert reported == pytest.approx(np.mean(losses), rel=1e-5)
    assert len(losses) == 10  # of 70 examples the fifth batch has 6


def test_momentum_starts_from_nothing_in_every_round(digits: Task) -> None:
    assert np.array_equal(trained(digits, steps=1, momentum=0.9), trained(digits, steps=1))
    assert not np.array_equal(trained(digits, steps=2, momentum=0.9), trained(digits, steps=2))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_frozen_values_stay_and_the_others_move_as_they_would(digits: Task, momentum: float) -> None:
    start, free = weights(digits.model(seed=1)), trained(digits, steps=1, momentum=momentum)
    frozen = np.random.default_rng(1).random(len(start)) < 0.5
    held = trained(digits, steps=1, momentum=momentum, frozen=frozen)
    np.testing.assert_array_equal(held, np.where(frozen, start, free))
    long = trained(digits, steps=5, momentum=momentum, frozen=frozen, proximal=1.0)
    np.testing.assert_array_equal(long[frozen], start[frozen])
    assert (long[~frozen] != held[~frozen]).any()


def test_a_mask_of_another_model_is_refused(digits: Task) -> None:
    with pytest.raises(SettingError, match=r"frozen must say of each of \d+ values, got shape \(3,\)"):
        trained(digits, frozen=np.zeros(3, dtype=bool))


class TwoHidden(torch.nn.Module):
    """A network whose one ReLU hears two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = (torch.nn.Linear(4, 4) for _ in range(3))
        self.active = torch.nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.active(self.second(self.active(self.first(x)))))


def test_a_penalty_on_the_activations_is_part_of_what_is_minimized() -> None:
    torch.manual_seed(1)
    one, other = TwoHidden(), TwoHidden()
    other.load_state_dict(one.state_dict())
    rng = np.random.default_rng(1)
    examples = Examples(rng.random((6, 4), dtype=np.float32), np.arange(6) % 4)
    heard: list[list[tuple[int, ...]]] = []

    def penalty(outputs) -> torch.Tensor:
        heard.append([tuple(output.shape) for output in outputs])
        return -sum(output.square().sum() for output in outputs)

    training = Training(epochs=1, batch_size=6, learning_rate=0.1, penalty=penalty)
    reported = train(one, examples, training, seed=1)
    assert heard == [[(6, 4), (6, 4)]]
    x, y = torch.from_numpy(examples.x), torch.from_numpy(examples.y)
    first = functional.relu(other.first(x))
    second = functional.relu(other.second(first))
    mean = functional.cross_entropy(other.last(second), y)
    (mean - first.square().sum() - second.square().sum()).backward()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter -= 0.1 * parameter.grad
    np.testing.assert_allclose(weights(one), weights(other), atol=1e-6)
    assert reported == pytest.approx(mean.item())
    one(x)
    assert len(heard) == 1  # nobody listens after training


def test_a_model_without_activation_layers_has_no_penalty() -> None:
    examples = Examples(np.eye(3, dtype=np.float32), np.arange(3))
    plain, punished = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
    punished.load_state_dict(plain.state_dict())
    train(plain, examples, Training(), seed=1)
    train(punished, examples, Training(penalty=lambda outputs: 1 / len(outputs)), seed=1)
    assert np.array_equal(weights(plain), weights(punished))


def test_what_dropout_draws_depends_on_the_seed_alone(digits: Task) -> None:
    def dropped(seed: int) -> np.ndarray:
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(), torch.nn.Linear(64, 10))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(0.01)
        before = torch.get_rng_state()
        train(model, digits.train[:64], Training(epochs=1, batch_size=64), seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        return weights(model)

    torch.manual_seed(1)
    first = dropped(seed=1)
    torch.manual_seed(2)
    assert np.array_equal(first, dropped(seed=1))
    assert not np.array_equal(first, dropped(seed=2))


def test_a_client_without_examples_leaves_the_model(digits: Task) -> None:
    model = digits.model(seed=1)
    before = weights(model).copy()
    assert np.isnan(train(model, digits.train[:0], Training(), seed=1))
    assert np.array_equal(weights(model), before)


def test_metrics_are_those_of_the_predictions() -> None:
    model = torch.nn.Linear(3, 4, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.eye(4, 3) * 100)
    # Rows are one-hot, so the prediction is the hot column: classes 0, 0, 1 and 2.
    examples = Examples(np.eye(3, dtype=np.float32)[[0, 0, 1, 2]], np.array([0, 1, 1, 0]), classes=4)
    metrics = evaluate(model, examples)
    assert metrics.accuracy == 0.5
    np.testing.assert_array_equal(metrics.recalls, [0.5, 0.5, np.nan, np.nan])
    assert metrics.worst_class_recall == 0.5
    assert metrics.loss == pytest.approx(50, rel=1e-3)


def test_a_model_that_has_become_nan_is_never_right(digits: Task) -> None:
    model = digits.model(seed=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    metrics = evaluate(model, digits.test)
    assert metrics.accuracy == 0
    assert metrics.worst_class_recall == 0


def test_evaluation_changes_nothing(digits: Task) -> None:
    model = digits.model(seed=1)
    before = weights(model).copy()
    first, again = evaluate(model, digits.test), evaluate(model, digits.test)
    assert first.accuracy == again.accuracy
    assert np.array_equal(weights(model), before)


def test_arrays_go_to_flower_and_back(digits: Task) -> None:
    record = arrays_of(digits.model(seed=1))
    other = digits.model(seed=2)
    load_arrays(other, record)
    assert list(record) == list(other.state_dict())
    assert np.array_equal(weights(other), weights(digits.model(seed=1)))


def test_arrays_of_another_precision_are_taken_in_the_models_own(digits: Task) -> None:
    record = arrays_of(digits.model(seed=1))
    model = digits.model(seed=2)
    load_arrays(model, ArrayRecord({name: Array(a.numpy().astype(np.float64)) for name, a in record.items()}))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert np.array_equal(weights(model), weights(digits.model(seed=1)))


def test_arrays_of_another_model_are_refused(digits: Task) -> None:
    with pytest.raises(RuntimeError, match="Missing key"):
        load_arrays(digits.model(seed=1), arrays_of(find_task("breast_cancer").model(seed=1)))
