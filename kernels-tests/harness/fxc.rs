//! What FXC, the HLSL compiler of Windows itself, refuses though naga writes it: found by tools/portability, which has FXC.

use naga::valid::{FunctionInfo, ModuleInfo};
use naga::{Block, Expression, Function, Module, Statement, TypeInner};

/// An error names the function that has what FXC refuses.
pub fn check(module: &Module, info: &ModuleInfo) -> Result<(), String> {
    let functions = module.functions.iter().map(|(handle, f)| (f, &info[handle]));
    let entries = module.entry_points.iter().enumerate().map(|(i, e)| (&e.function, info.get_entry_point(i)));
    for (function, types) in functions.chain(entries) {
        if stores_to_a_computed_component(module, function, types, &function.body) {
            let name = function.name.as_deref().unwrap_or("an entry point");
            return Err(format!("{name} writes a component of a vector by a computed index (X3511 in loops of FXC)"));
        }
    }
    Ok(())
}

fn stores_to_a_computed_component(module: &Module, f: &Function, types: &FunctionInfo, block: &Block) -> bool {
    let within = |block: &Block| stores_to_a_computed_component(module, f, types, block);
    block.iter().any(|statement| match statement {
        Statement::Store { pointer, .. } => match f.expressions[*pointer] {
            Expression::Access { base, .. } => match types[base].ty.inner_with(&module.types) {
                TypeInner::Pointer { base, .. } => matches!(module.types[*base].inner, TypeInner::Vector { .. }),
                TypeInner::ValuePointer { size, .. } => size.is_some(),
                _ => false,
            },
            _ => false,
        },
        Statement::Loop { body, continuing, .. } => within(body) || within(continuing),
        Statement::Block(block) => within(block),
        Statement::If { accept, reject, .. } => within(accept) || within(reject),
        Statement::Switch { cases, .. } => cases.iter().any(|case| within(&case.body)),
        _ => false,
    })
}

pub const GOOD: &str = "fn f(i: u32) -> f32 { var x = vec4(1.0); x.y = 2.0; x[2] = 3.0; return x[i]; }";
pub const BAD: &str =
    "fn f(i: u32) -> vec4<f32> { var x = vec4(1.0); for (var n = 0u; n < i; n++) { x[n] = 2.0; } return x; }";
