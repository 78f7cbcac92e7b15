//! From the names in a shader to the operands of a node. Needs no GPU.

use super::shader::{Binding, Reflection};
use crate::error::{Error, Result};
use crate::graph::plan::{Memory, Planned, Slot};
use crate::kernels::{Caps, Launch, OperandRef, Shapes};
use crate::tensor::DType;

/// A storage buffer of one launch.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    pub number: u32,
    pub writes: bool,
    pub slot: Slot,
}

/// What `node` launches on an adapter of `caps`.
///
/// # Errors
/// Those of the op, and where a launch's loops are longer than the driver lets them run.
pub fn launches(node: &Planned, caps: &Caps) -> Result<Vec<Launch>> {
    if node.op.is_view() || node.outputs.iter().all(|y| y.spec.shape.elements() == 0) {
        return Ok(vec![]);
    }
    let [inputs, outputs, scratch] = node.specs();
    let launches = node.op.gpu(&Shapes { inputs: &inputs, outputs: &outputs, scratch: &scratch }, caps)?;
    match launches.iter().find(|launch| launch.turns > caps.max_turns) {
        None => Ok(launches),
        Some(launch) => {
            let shapes: Vec<String> = inputs.iter().map(|x| x.shape.to_string()).collect();
            Err(Error::Device(format!(
                "{} ({}, {}): of inputs {} an invocation makes up to {} turns of loops, and this driver ends them after {}; \
                 lower --set train.batch, data.max_len or model.dim, or use --device cpu",
                node.scope,
                node.op.name(),
                launch.entry,
                shapes.join(", "),
                launch.turns,
                caps.max_turns
            )))
        }
    }
}

/// The storage buffers of a shader's text, of those that `launch` of `node` binds, which hold f16.
pub fn halves(node: &Planned, launch: &Launch, text: &str) -> Vec<String> {
    let names = text.match_indices("var<storage").filter_map(|(at, _)| {
        let (_, rest) = text[at..].split_once('>')?;
        Some(rest.split_once(':')?.0.trim().to_string())
    });
    let is_half = |name: &String| {
        let binding = Binding { name: name.clone(), number: 0, writes: false };
        operand(node, launch, &binding).is_some_and(|(slot, _)| slot.spec.dtype == DType::F16)
    };
    names.filter(is_half).collect()
}

/// The slots that `launch` of `node` binds, or an error that names what does not match: an unknown name, parameters of
/// another size than the shader's, a write to what the node does not own, a buffer written and bound twice.
pub fn bind(node: &Planned, launch: &Launch, found: &Reflection) -> Result<Vec<Bound>> {
    let fail =
        |message: String| Error::Device(format!("{} ({}, {}): {message}", node.scope, node.op.name(), launch.entry));
    if launch.params.len() != found.immediate_bytes as usize {
        return Err(fail(format!(
            "is given {} bytes of parameters and its shader takes {}",
            launch.params.len(),
            found.immediate_bytes
        )));
    }
    let bound = found.bindings.iter().map(|binding| {
        let (slot, owned) = operand(node, launch, binding)
            .ok_or_else(|| fail(format!("the shader's {:?} is no operand: {:?}", binding.name, node.op.operands())))?;
        if binding.writes && !owned {
            return Err(fail(format!("{} is an input: declare it `read`, not `read_write`", binding.name)));
        }
        Ok(Bound { number: binding.number, writes: binding.writes, slot: slot.clone() })
    });
    let bound: Vec<Bound> = bound.collect::<Result<_>>()?;
    for (i, write) in bound.iter().enumerate().filter(|(_, b)| b.writes) {
        if let Some(j) = (0..bound.len()).find(|&j| j != i && bound[j].slot.memory == write.slot.memory) {
            return Err(fail(format!(
                "{} is written and {} lies in the same buffer",
                found.bindings[i].name, found.bindings[j].name
            )));
        }
    }
    Ok(bound)
}

/// The slot that a shader's name stands for, and whether the launch may write to it.
fn operand<'a>(node: &'a Planned, launch: &Launch, binding: &Binding) -> Option<(&'a Slot, bool)> {
    // An output may be a state, which is written in place.
    let owned = |slot: &'a Slot| (slot, !matches!(slot.memory, Memory::Input(_) | Memory::Constant(_)));
    if let Some((_, operand)) = launch.rename.iter().find(|(name, _)| *name == binding.name) {
        return match *operand {
            OperandRef::Input(i) => node.inputs.get(i).map(|slot| (slot, false)),
            OperandRef::Output(i) => node.outputs.get(i).map(owned),
            OperandRef::Scratch(i) => node.scratch.get(i).map(owned),
        };
    }
    let names = node.op.operands();
    let find = |list: &[&str], slots: &'a [Slot]| {
        list.iter().zip(slots).find(|(name, _)| **name == binding.name).map(|(_, slot)| slot)
    };
    // Outputs first: one that is written over a state shares the state's name and slot.
    find(names.outputs, &node.outputs)
        .or_else(|| find(names.scratch, &node.scratch))
        .map(owned)
        .or_else(|| find(names.inputs, &node.inputs).map(|slot| (slot, false)))
}
