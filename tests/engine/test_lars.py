"""LARS against a reference that computes each number by itself."""

import math

import pytest
import torch

from mae_plugin.engine.lars import LARS


def reference_step(values, grads, velocity, ndim, lr, decay, momentum, coefficient):
    """One step in plain Python floats; returns new values and velocity."""
    direction = list(grads)
    if ndim > 1:
        direction = [g + decay * v for g, v in zip(grads, values)]
        weight_norm = math.sqrt(sum(v * v for v in values))
        update_norm = math.sqrt(sum(d * d for d in direction))
        if weight_norm > 0 and update_norm > 0:
            direction = [coefficient * weight_norm / update_norm * d for d in direction]
    velocity = [momentum * u + d for u, d in zip(velocity, direction)]
    return [v - lr * u for v, u in zip(values, velocity)], velocity


@pytest.mark.parametrize('shape', [(3, 4), (2, 3, 2), (5,), ()])
@pytest.mark.parametrize('start', ['random', 'zero weights', 'zero gradients'])
def test_lars_equals_the_reference_over_steps_of_changing_lr(shape, start):
    generator = torch.Generator().manual_seed(1)
    value = torch.randn(shape, generator=generator, dtype=torch.float64)
    value = torch.zeros_like(value) if start == 'zero weights' else value
    param = torch.nn.Parameter(value.clone())
    options = dict(weight_decay=0.1, momentum=0.9, trust_coefficient=0.02)
    optimizer = LARS([param], lr=1.0, **options)
    values, velocity = value.flatten().tolist(), [0.0] * value.numel()
    for lr in (1.0, 0.3, 2.0, 0.0):
        grad = torch.randn(shape, generator=generator, dtype=torch.float64)
        grad = torch.zeros_like(grad) if start == 'zero gradients' else grad
        param.grad = grad
        optimizer.param_groups[0]['lr'] = lr
        optimizer.step()
        values, velocity = reference_step(
            values, grad.flatten().tolist(), velocity, len(shape), lr, 0.1, 0.9, 0.02
        )
        expected = torch.tensor(values, dtype=torch.float64).reshape(shape)
        torch.testing.assert_close(param.detach(), expected, rtol=1e-12, atol=1e-14)


def test_lars_leaves_parameters_without_a_gradient_alone():
    param = torch.nn.Parameter(torch.ones(2, 2))
    LARS([param], weight_decay=0.5).step()
    assert torch.equal(param.detach(), torch.ones(2, 2))


def test_lars_goes_on_from_a_saved_state():
    def run(optimizer, param, steps):
        for step in range(steps):
            param.grad = torch.full_like(param, 0.1 + step)
            optimizer.step()

    whole, resumed = (torch.nn.Parameter(torch.ones(3, 2)) for _ in range(2))
    first, second = LARS([whole]), LARS([resumed])
    run(first, whole, 1)
    run(second, resumed, 1)
    third = LARS([resumed])
    third.load_state_dict(second.state_dict())
    run(first, whole, 3)
    run(third, resumed, 3)
    assert torch.equal(whole, resumed)


@pytest.mark.parametrize('option', ['lr', 'weight_decay', 'momentum', 'trust_coefficient'])
def test_lars_refuses_negative_values(option):
    with pytest.raises(ValueError, match=f'{option}=-1'):
        LARS([torch.nn.Parameter(torch.ones(1))], **{option: -1})
