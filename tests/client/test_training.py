import numpy as np
import pytest
import torch
from flwr.app import Array, ArrayRecord
from hawthorn.client.tasks import Examples, Task, find_task
from hawthorn.client.training import Training, arrays_of, evaluate, load_arrays, train
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
