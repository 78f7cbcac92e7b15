//! From the names in a shader to the operands of a node. Needs no GPU.

use super::reflection::Reflection;
use crate::error::{Error, Result};
use crate::graph::plan::{Memory, Planned, Slot};
use crate::graph::{Caps, Launch, Place, Which};
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
/// The op's errors; a launch whose loops are longer than the driver lets them run.
pub fn launches(node: &Planned, caps: &Caps) -> Result<Vec<Launch>> {
    if node.op.is_view() || node.outputs.iter().all(|y| y.spec.shape.elements() == 0) {
        return Ok(vec![]);
    }
    let launches = node.with_shapes(|s| node.op.gpu(s, caps))?;
    match launches.iter().find(|launch| launch.turns > caps.max_turns) {
        None => Ok(launches),
        Some(launch) => {
            let shapes: Vec<String> = node.inputs.iter().map(|x| x.spec.shape.to_string()).collect();
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
        place(node, launch, name).and_then(|at| slot(node, at)).is_some_and(|slot| slot.spec.dtype == DType::F16)
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
        let at = place(node, launch, &binding.name)
            .ok_or_else(|| fail(format!("the shader's {:?} is no operand: {:?}", binding.name, node.op.operands())))?;
        // What the shader does not read must be bound to something all the same.
        let slot = slot(node, at).or(node.inputs.first()).ok_or_else(|| fail("has no operand to bind".into()))?;
        // An output may be a state, which is written in place.
        let owned = !matches!(at, Place::Input(_) | Place::Absent)
            && !matches!(slot.memory, Memory::Input(_) | Memory::Constant(_));
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

/// Where the operand lies that a shader's name stands for.
fn place(node: &Planned, launch: &Launch, name: &str) -> Option<Place> {
    let operands = node.op.operands();
    match launch.rename.iter().find(|(renamed, _)| *renamed == name) {
        Some((_, Which::Number(input))) => Some(Place::Input(*input)),
        Some((_, Which::Name(operand))) => operands.find(operand, node.inputs.len()),
        None => operands.find(name, node.inputs.len()),
    }
}

/// None: the node has no such operand.
fn slot(node: &Planned, at: Place) -> Option<&Slot> {
    match at {
        Place::Input(i) => node.inputs.get(i),
        Place::Output(i) => node.outputs.get(i),
        Place::Scratch(i) => node.scratch.get(i),
        Place::Absent => None,
    }
}
