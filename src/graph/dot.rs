//! A plan as a Graphviz drawing.

use super::plan::{Memory, Plan};
use std::collections::HashMap;
use std::fmt::Write;

/// `dot -Tsvg` draws it: a box a node, an edge a value with its shape; states written in place are drawn bold.
pub fn dot(plan: &Plan) -> String {
    let mut text = String::from("digraph plan {\n  rankdir=TB; node [shape=box, fontname=\"monospace\"];\n");
    let mut made_by: HashMap<(Memory, usize), String> = HashMap::new();
    for (i, (name, spec)) in plan.inputs.iter().enumerate() {
        let _ = writeln!(text, "  input{i} [label=\"{name}\\n{spec:?}\", style=rounded];");
        made_by.insert((Memory::Input(i), 0), format!("input{i}"));
    }
    for (n, node) in plan.nodes.iter().enumerate() {
        let bold = if node.op.in_place().is_empty() { "" } else { ", style=bold" };
        let _ = writeln!(text, "  n{n} [label=\"{}\"{bold}];", node.scope);
        for slot in &node.inputs {
            let from = made_by.entry((slot.memory, slot.offset)).or_insert_with(|| match slot.memory {
                Memory::State(i) => format!("\"{} +{}\"", plan.states[i].0, slot.offset),
                other => format!("\"{other:?}\""),
            });
            let _ = writeln!(text, "  {from} -> n{n} [label=\"{}\"];", slot.spec.shape);
        }
        for slot in &node.outputs {
            made_by.insert((slot.memory, slot.offset), format!("n{n}"));
        }
    }
    for (name, slot) in &plan.results {
        if let Some(from) = made_by.get(&(slot.memory, slot.offset)) {
            let _ = writeln!(text, "  {from} -> \"result {name}\";");
        }
    }
    text + "}\n"
}
