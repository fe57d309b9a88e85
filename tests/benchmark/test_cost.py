"""What a step costs, against numbers counted by hand for a 3-4-2 network, batch 5, Adam, float32."""

from dataclasses import replace

import numpy as np
import pytest

from bpengine.benchmark import MAIN, Workload
from bpengine.benchmark.floors.cost import step_cost
from bpengine.benchmark.inputs import make_sample
from bpengine.kernels import KERNELS
from bpengine.summary.call_costs import Product

B, I, H, O = 5, 3, 4, 2
NETWORK = Workload("hand", (I, H, O), B, epoch_steps=1)
PARAMETERS = I * H + H + H * O + O


@pytest.fixture(scope="module")
def cost():
    return step_cost(make_sample(NETWORK))


def by_function(cost, function):
    return [call for call in cost.calls if call.function == function]


def test_products_are_the_five_of_a_two_layer_network(cost):
    """Forward both layers; backward both weights, but only the second layer's input."""
    assert sorted(cost.products) == sorted(
        [
            Product(B, I, H, "nn"),
            Product(B, H, O, "nn"),
            Product(B, O, H, "nt"),
            Product(H, B, O, "tn"),
            Product(I, B, H, "tn"),
        ]
    )
    assert cost.product_flops == 2 * B * I * H * 2 + 2 * B * H * O * 3


def test_cost_of_each_call_counts_its_operations(cost):
    first, second = by_function(cost, "dense_fwd")
    assert (first.place, first.flops) == ("0", 2 * B * I * H + B * H)
    assert (second.place, second.flops) == ("1", 2 * B * H * O + B * O)
    (back_second, back_first) = by_function(cost, "dense_bwd")
    assert (back_second.place, back_second.flops) == ("1", 4 * B * H * O + B * O)
    assert (back_first.place, back_first.flops) == ("0", 2 * B * I * H + B * H), "the input's gradient is not computed"
    assert [call.flops for call in by_function(cost, "relu_fwd")] == [B * H]
    assert sum(call.flops for call in by_function(cost, "adam_update")) == 14 * PARAMETERS


def test_cost_of_a_step_counts_all_operations(cost):
    dense = 2 * (2 * B * I * H + B * H) + 2 * B * H * O + B * O + 4 * B * H * O + B * O
    loss = sum(KERNELS["softmax_cross_entropy"].cost(way, B=B, O=O).flops for way in ("forward", "backward"))
    relu, adam, helpers = 3 * B * H, 14 * PARAMETERS, 4 + 2
    assert cost.flops == dense + loss + relu + adam + helpers


def test_cost_of_each_call_counts_the_bytes_it_moves(cost):
    (first, _), (back_second, back_first) = by_function(cost, "dense_fwd"), by_function(cost, "dense_bwd")
    assert first.bytes == 4 * (B * I + I * H + H + B * H)
    assert back_second.bytes == 4 * (B * H + H * O + B * O + B * H + H * O + O)
    assert back_first.bytes == 4 * (B * I + I * H + B * H + I * H + H)
    assert [call.bytes for call in by_function(cost, "identity_fwd")] == [0], (
        "what gives back its argument moves nothing"
    )
    updates = [call.bytes for call in by_function(cost, "adam_update")]
    assert sum(updates) == 4 * (7 * PARAMETERS + 4 * 2), "w, dw, m, v in; w, m, v out; and t and lr four times"


def test_memory_counts_parameters_state_activations_and_batch(cost):
    """Kept for the backward: the hidden layer's output, and what the loss keeps."""
    sample = make_sample(NETWORK)
    _, residual = KERNELS["softmax_cross_entropy"].forward(np, np.zeros((B, O), np.float32), sample.y)
    kept = sum(array.nbytes for array in residual if hasattr(array, "nbytes") and array is not sample.y)
    assert cost.memory.parameters == cost.memory.gradients == 4 * PARAMETERS
    assert cost.memory.optimizer_state == 8 * PARAMETERS
    assert cost.memory.activations == 4 * B * H + kept
    assert cost.memory.batch == 4 * B * I + 8 * B
    assert cost.memory.total == 16 * PARAMETERS + cost.memory.activations + cost.memory.batch


def test_float64_takes_twice_the_bytes_and_the_same_operations(cost):
    double = step_cost(make_sample(replace(NETWORK, dtype="float64")))
    assert double.flops == cost.flops
    assert double.memory.parameters == 2 * cost.memory.parameters


def test_sgd_has_no_state_and_fewer_operations(cost):
    plain = step_cost(make_sample(replace(NETWORK, optimizer="sgd")))
    assert plain.memory.optimizer_state == 0
    assert cost.flops - plain.flops == 12 * PARAMETERS


def test_cost_of_a_network_with_one_output_is_counted():
    cost = step_cost(make_sample(Workload("xor", (2, 2, 1), 4, optimizer="sgd", epoch_steps=1, activation="sigmoid")))
    assert cost.product_flops == 2 * 4 * (2 * 2 * 2 + 2 * 1 * 3)
    assert {call.function for call in cost.calls} >= {"sigmoid_cross_entropy_fwd", "sigmoid_bwd", "sgd_update"}


def test_main_workloads_have_their_documented_sizes():
    small = next(w for w in MAIN if w.name == "small")
    cost = step_cost(make_sample(replace(small, epoch_steps=1)))
    products = 2 * 32 * (2 * 64 * 64 + 3 * (64 * 64 + 64 * 10))
    assert cost.product_flops == products
    assert cost.memory.parameters == 4 * (2 * (64 * 64 + 64) + 64 * 10 + 10)
    assert np.isclose(products / cost.flops, 0.905, atol=0.01), "most operations are those of products"
