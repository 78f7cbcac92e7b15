//! A conservative check, over naga's IR, that every invocation of a workgroup reaches each barrier: no barrier stands under
//! control flow that may differ between invocations. naga itself accepts such a barrier, and drivers hang or read stale
//! values on it.
//!
//! Taken to differ: invocation ids and structs that have one, whatever is loaded from storage or workgroup memory (but by `workgroupUniformLoad`),
//! results of atomics and subgroups, what is computed from those, and variables written under control flow that differs.
//! After a `return`, `break` or `continue` that only some take, the rest of the function or loop differs as well.

use naga::{
    AddressSpace, Binding, Block, BuiltIn, Expression, Function, FunctionArgument, Handle, LocalVariable, Module,
    Statement, TypeInner,
};
use std::collections::HashSet;

/// An error names the entry point and the function whose barrier some invocations may not reach.
pub fn check(module: &Module) -> Result<(), String> {
    for entry in &module.entry_points {
        let arguments: Vec<bool> = entry.function.arguments.iter().map(|a| argument_differs(module, a)).collect();
        Walk::over(module, &entry.function, &arguments, false).map_err(|e| format!("{}: {e}", entry.name))?;
    }
    Ok(())
}

/// Whether an argument of an entry point may differ between invocations: a struct, as for Tint, where one of its members may.
fn argument_differs(module: &Module, argument: &FunctionArgument) -> bool {
    match &module.types[argument.ty].inner {
        TypeInner::Struct { members, .. } => members.iter().any(|m| !is_shared(m.binding.as_ref())),
        _ => !is_shared(argument.binding.as_ref()),
    }
}

/// Whether all invocations of a workgroup get the same value of this argument of an entry point.
fn is_shared(binding: Option<&Binding>) -> bool {
    let Some(Binding::BuiltIn(b)) = binding else { return false };
    matches!(b, BuiltIn::WorkGroupId | BuiltIn::NumWorkGroups | BuiltIn::WorkGroupSize | BuiltIn::NumSubgroups)
}

/// One function, called with arguments of which some differ between invocations.
struct Walk<'a> {
    module: &'a Module,
    function: &'a Function,
    arguments: &'a [bool],
    /// Variables and results of calls that may differ. Only ever grows: the walk is repeated until it does not.
    variables: HashSet<Handle<LocalVariable>>,
    results: HashSet<Handle<Expression>>,
    value_differs: bool,
}

/// Ways out of a block that only some invocations may have taken.
#[derive(Clone, Copy, Default)]
struct Left {
    by_break: bool,
    by_continue: bool,
    by_return: bool,
}

impl Left {
    fn any(self) -> bool {
        self.by_break || self.by_continue || self.by_return
    }

    fn or(self, other: Left) -> Left {
        Left {
            by_break: self.by_break || other.by_break,
            by_continue: self.by_continue || other.by_continue,
            by_return: self.by_return || other.by_return,
        }
    }
}

impl<'a> Walk<'a> {
    /// Whether the function's value may differ. `differs`: only some invocations may be here.
    fn over(module: &'a Module, function: &'a Function, arguments: &'a [bool], differs: bool) -> Result<bool, String> {
        let mut walk = Walk {
            module,
            function,
            arguments,
            variables: HashSet::new(),
            results: HashSet::new(),
            value_differs: false,
        };
        loop {
            let before = (walk.variables.len(), walk.results.len());
            for (variable, local) in function.local_variables.iter() {
                if local.init.is_some_and(|value| walk.differs(value)) {
                    walk.variables.insert(variable);
                }
            }
            walk.block(&function.body, differs)?;
            if before == (walk.variables.len(), walk.results.len()) {
                return Ok(walk.value_differs);
            }
        }
    }

    fn block(&mut self, block: &Block, mut differs: bool) -> Result<Left, String> {
        let mut left = Left::default();
        for statement in block.iter() {
            left = left.or(self.statement(statement, differs)?);
            differs = differs || left.any();
        }
        Ok(left)
    }

    fn statement(&mut self, statement: &Statement, differs: bool) -> Result<Left, String> {
        let mut left = Left::default();
        match statement {
            Statement::ControlBarrier(_) | Statement::WorkGroupUniformLoad { .. } if differs => {
                let name = self.function.name.as_deref().unwrap_or("the entry point");
                return Err(format!("not every invocation may reach a barrier in {name}"));
            }
            Statement::Block(block) => left = self.block(block, differs)?,
            Statement::If { condition, accept, reject } => {
                let differs = differs || self.differs(*condition);
                left = self.block(accept, differs)?.or(self.block(reject, differs)?);
            }
            Statement::Switch { selector, cases } => {
                let differs = differs || self.differs(*selector);
                for case in cases {
                    left = left.or(self.block(&case.body, differs)?);
                }
                left.by_break = false; // a break leaves the switch, after which all meet again
            }
            Statement::Loop { body, continuing, break_if } => {
                let mut inside = differs;
                loop {
                    left = self.block(body, inside)?;
                    left = left.or(self.block(continuing, inside || left.any())?);
                    left.by_break |= break_if.is_some_and(|condition| self.differs(condition));
                    // Once some have left, the next round begins without them.
                    if inside || !left.any() {
                        break;
                    }
                    inside = true;
                }
                (left.by_break, left.by_continue) = (false, false);
            }
            Statement::Break => left.by_break = differs,
            Statement::Continue => left.by_continue = differs,
            Statement::Return { value } => {
                left.by_return = differs;
                self.value_differs |= differs || value.is_some_and(|v| self.differs(v));
            }
            Statement::Store { pointer, value } if differs || self.differs(*value) || self.path_differs(*pointer) => {
                self.variables.extend(self.variable(*pointer));
            }
            Statement::Call { function, arguments, result } => {
                let given: Vec<bool> = arguments.iter().map(|&a| self.differs(a)).collect();
                let value = Walk::over(self.module, &self.module.functions[*function], &given, differs)?;
                // A variable that a function gets a pointer to may be written there.
                for &argument in arguments {
                    self.variables.extend(self.variable(argument));
                }
                self.results.extend(result.filter(|_| value));
            }
            _ => {}
        }
        Ok(left)
    }

    fn differs(&self, expression: Handle<Expression>) -> bool {
        let all = |list: &[Option<Handle<Expression>>]| list.iter().flatten().any(|&e| self.differs(e));
        match self.function.expressions[expression] {
            Expression::Literal(_) | Expression::Constant(_) | Expression::Override(_) | Expression::ZeroValue(_) => {
                false
            }
            // Pointers: what differs is found when they are loaded from.
            Expression::GlobalVariable(_) | Expression::LocalVariable(_) => false,
            Expression::WorkGroupUniformLoadResult { .. } | Expression::ArrayLength(_) => false,
            Expression::FunctionArgument(i) => self.arguments[i as usize],
            Expression::CallResult(_) => self.results.contains(&expression),
            Expression::Load { pointer } => self.path_differs(pointer) || self.loaded_differs(pointer),
            Expression::Compose { ref components, .. } => components.iter().any(|&e| self.differs(e)),
            Expression::Access { base, index } => self.differs(base) || self.differs(index),
            Expression::AccessIndex { base, .. } => self.differs(base),
            Expression::Splat { value, .. } => self.differs(value),
            Expression::Swizzle { vector, .. } => self.differs(vector),
            Expression::Unary { expr, .. } | Expression::As { expr, .. } => self.differs(expr),
            Expression::Relational { argument, .. } => self.differs(argument),
            Expression::Binary { left, right, .. } => self.differs(left) || self.differs(right),
            Expression::Select { condition, accept, reject } => all(&[Some(condition), Some(accept), Some(reject)]),
            Expression::Math { arg, arg1, arg2, arg3, .. } => all(&[Some(arg), arg1, arg2, arg3]),
            // Atomics, subgroups, images and what may come: taken to differ.
            _ => true,
        }
    }

    /// Whether invocations may follow `pointer` to different elements of one variable.
    fn path_differs(&self, pointer: Handle<Expression>) -> bool {
        match self.function.expressions[pointer] {
            Expression::Access { base, index } => self.differs(index) || self.path_differs(base),
            Expression::AccessIndex { base, .. } => self.path_differs(base),
            _ => false,
        }
    }

    /// Whether what `pointer` points to may differ between invocations, or may be written by another.
    fn loaded_differs(&self, pointer: Handle<Expression>) -> bool {
        match self.function.expressions[pointer] {
            Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => self.loaded_differs(base),
            Expression::LocalVariable(variable) => self.variables.contains(&variable),
            Expression::GlobalVariable(variable) => {
                !matches!(self.module.global_variables[variable].space, AddressSpace::Immediate | AddressSpace::Uniform)
            }
            _ => true,
        }
    }

    fn variable(&self, pointer: Handle<Expression>) -> Option<Handle<LocalVariable>> {
        match self.function.expressions[pointer] {
            Expression::Access { base, .. } | Expression::AccessIndex { base, .. } => self.variable(base),
            Expression::LocalVariable(variable) => Some(variable),
            _ => None,
        }
    }
}

/// Bodies of an entry point that the check accepts.
pub const GOOD: &[&str] = &[
    "workgroupBarrier();",
    "if group.x > n { return; } workgroupBarrier();",
    "for (var i = 0u; i < n; i++) { if lane < i { shared_words[lane] = i; } workgroupBarrier(); }",
    "for (var i = lane; i < n; i += 64u) { shared_words[i] = 0u; } workgroupBarrier();",
    "if lane == 0u { shared_words[0] = words[0]; } let m = workgroupUniformLoad(&shared_words[0]);
     for (var i = 0u; i < m; i++) { workgroupBarrier(); }",
    "let m = same(group.x, 3u); if m > 2u { workgroupBarrier(); }",
    "switch lane { case 0u: { shared_words[0] = 1u; } default: {} } workgroupBarrier();",
];

/// Bodies that it refuses, and what their barrier comes after.
pub const BAD: &[(&str, &str)] = &[
    ("an if on an invocation", "if lane < 3u { workgroupBarrier(); }"),
    ("a return of some", "if lane < 3u { return; } workgroupBarrier();"),
    ("a bound from storage", "for (var i = 0u; i < words[0]; i++) { workgroupBarrier(); }"),
    ("a bound from workgroup memory", "let m = shared_words[0]; if m > 0u { workgroupBarrier(); }"),
    ("a variable of an invocation", "var m = 0u; if lane == 1u { m = 2u; } if m == 2u { workgroupBarrier(); }"),
    ("a break of some", "loop { if words[lane] == 0u { break; } workgroupBarrier(); }"),
    ("a break of some in the round before", "loop { workgroupBarrier(); if words[lane] == 0u { break; } }"),
    ("the value of a function", "if same(lane, 3u) == 3u { workgroupBarrier(); }"),
    ("a group's number in a struct with an invocation's", "if mixed.group.x > n { return; } workgroupBarrier();"),
    ("a call by some", "if lane == 0u { meet(); }"),
    (
        "a variable that changes later",
        "var m = 0u; for (var i = 0u; i < n; i++) { if m == 1u { workgroupBarrier(); } m = lane; }",
    ),
];
