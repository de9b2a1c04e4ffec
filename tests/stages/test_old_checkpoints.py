"""Checkpoints of version 0.1.0: tensors have other names, and the optimizer's state another order."""

from lightning_mav.stages.old_checkpoints import bring_up_to_date

# As the modules stood: all residual blocks of a level, then its attention layers, then its resampling block.
OLD = {
    "model.net.conv_in.weight": "model.net.conv_in.weight",
    "model.net.down_blocks.0.resnets.0.conv1.weight": "model.net.down_blocks.0.0.resnet.conv1.weight",
    "model.net.down_blocks.0.resnets.1.conv1.weight": "model.net.down_blocks.0.1.resnet.conv1.weight",
    "model.net.down_blocks.0.attentions.0.to_q.weight": "model.net.down_blocks.0.0.attention.to_q.weight",
    "model.net.down_blocks.0.attentions.1.to_q.weight": "model.net.down_blocks.0.1.attention.to_q.weight",
    "model.net.down_blocks.0.resampler.conv1.weight": "model.net.down_blocks.0.2.resnet.conv1.weight",
    "model.net.mid_block.resnets.0.conv1.weight": "model.net.mid_block.0.resnet.conv1.weight",
    "model.net.mid_block.resnets.1.conv1.weight": "model.net.mid_block.1.resnet.conv1.weight",
    "model.net.mid_block.attentions.0.to_q.weight": "model.net.mid_block.0.attention.to_q.weight",
    "model.net.up_blocks.0.resnets.0.conv1.weight": "model.net.up_blocks.0.0.resnet.conv1.weight",
    "model.net.up_blocks.0.resampler.conv1.weight": "model.net.up_blocks.0.1.resnet.conv1.weight",
}
NOW = sorted(OLD.values(), key=lambda name: ("conv_in" not in name, "up" in name, "mid" in name, name))


def checkpoint(*groups):
    """One whose state names, instead of numbers, say whose they are."""
    numbered = enumerate(name for group in groups for name in group)
    return {
        "state_dict": {name: f"average of {OLD[name]}" for name in OLD},
        "current_model_state": {name: f"{OLD[name]}" for name in OLD},
        "optimizer_states": [
            {
                "state": {number: OLD[name] for number, name in numbered},
                "param_groups": [{"params": [*group]} for group in groups],
            }
        ],
    }


def test_names_and_numbers_become_those_of_today():
    found = checkpoint(OLD)
    bring_up_to_date(found, [NOW], NOW)
    assert found["state_dict"] == {name: f"average of {name}" for name in NOW}
    assert found["current_model_state"] == {name: name for name in NOW}
    assert found["optimizer_states"][0]["state"] == dict(enumerate(NOW))


def test_groups_of_the_optimizer_are_sorted_each_by_itself():
    attention = [name for name in OLD if "attention" in name]
    others = [name for name in OLD if "attention" not in name]
    found = checkpoint(others, attention)
    groups = [[name for name in NOW if ("attention" in name) == part] for part in (False, True)]
    bring_up_to_date(found, groups, NOW)
    assert found["optimizer_states"][0]["state"] == dict(enumerate(groups[0] + groups[1]))


def test_those_of_today_stay_as_they_are():
    found = {
        "state_dict": dict.fromkeys(NOW),
        "optimizer_states": [{"state": dict(enumerate(reversed(NOW)))}],
    }
    bring_up_to_date(found, [NOW], NOW)
    assert found["optimizer_states"][0]["state"] == dict(enumerate(reversed(NOW)))


def test_optimizer_of_ones_own_has_all_parameters_in_one_group():
    found = checkpoint(OLD)
    groups = [[name for name in NOW if ("attention" in name) == part] for part in (False, True)]
    bring_up_to_date(found, groups, NOW)
    assert found["optimizer_states"][0]["state"] == dict(enumerate(NOW))


def test_weights_alone_are_renamed():
    found = checkpoint(OLD)
    del found["optimizer_states"]
    bring_up_to_date(found, [NOW], NOW)
    assert found["state_dict"].keys() == set(NOW)
