//! The operands of an op: each declared once, by the name that its shader gives it, with its element type and its shape.
//! Shape rule, twin, gradient rule and launches ask for them by that name.
//!
//! A shape is a pattern of axes: `b t 3h` is any \[B, T, 3 H\]. A name stands for the same extent in all operands of an op, a number
//! for itself, `3h` for three times an extent and `b+1` for one more than it; `..` stands for any axes, the same wherever it
//! is written, and `*` for a shape that the op's own rule checks.

use crate::error::{Error, Result};
use crate::tensor::{DType, Shape, Spec};

/// See the module's page.
#[derive(Clone, Debug, Default)]
pub struct Operands {
    inputs: Vec<Declared>,
    outputs: Vec<Declared>,
    scratch: Vec<&'static str>,
    many: bool,
}

#[derive(Clone, Debug)]
struct Declared {
    name: &'static str,
    /// None: either.
    dtype: Option<DType>,
    shape: &'static str,
    need: Need,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Need {
    Always,
    /// An op of these settings has none.
    Never,
    /// By the number of inputs that it is given.
    Optional,
}

/// One of an op's inputs, outputs or scratch buffers: by its name, or by its number among those that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Which {
    Name(&'static str),
    Number(usize),
}

impl From<&'static str> for Which {
    fn from(name: &'static str) -> Which {
        Which::Name(name)
    }
}

impl From<usize> for Which {
    fn from(number: usize) -> Which {
        Which::Number(number)
    }
}

impl std::fmt::Display for Which {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Which::Name(name) => write!(f, "{name}"),
            Which::Number(n) => write!(f, "input {n}"),
        }
    }
}

/// Where an operand is found, by its number among those that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    Input(usize),
    Output(usize),
    Scratch(usize),
    /// The op has none: a launch binds something else, which its shader does not read.
    Absent,
}

impl Operands {
    pub fn new() -> Operands {
        Operands::default()
    }

    fn input(mut self, name: &'static str, dtype: Option<DType>, shape: &'static str) -> Operands {
        self.inputs.push(Declared { name, dtype, shape, need: Need::Always });
        self
    }

    /// An input of floats.
    pub fn f32(self, name: &'static str, shape: &'static str) -> Operands {
        self.input(name, Some(DType::F32), shape)
    }

    /// An input of integers.
    pub fn u32(self, name: &'static str, shape: &'static str) -> Operands {
        self.input(name, Some(DType::U32), shape)
    }

    /// An input of floats or of integers.
    pub fn any(self, name: &'static str, shape: &'static str) -> Operands {
        self.input(name, None, shape)
    }

    /// Inputs that have no names, as many as the op is given.
    pub fn many(mut self) -> Operands {
        self.many = true;
        self
    }

    fn last_input(&mut self) -> &mut Declared {
        self.inputs.last_mut().expect("an input was declared")
    }

    /// The input declared last is there only if `present`.
    pub fn when(mut self, present: bool) -> Operands {
        if !present {
            self.last_input().need = Need::Never;
        }
        self
    }

    /// The input declared last may be left out, and those declared after it.
    pub fn optional(mut self) -> Operands {
        self.last_input().need = Need::Optional;
        self
    }

    /// An output of floats.
    pub fn out_f32(self, name: &'static str, shape: &'static str) -> Operands {
        self.out_f32_when(true, name, shape)
    }

    /// An output of floats that there is only if `present`.
    pub fn out_f32_when(mut self, present: bool, name: &'static str, shape: &'static str) -> Operands {
        if present {
            self.outputs.push(Declared { name, dtype: Some(DType::F32), shape, need: Need::Always });
        }
        self
    }

    /// An output of integers.
    pub fn out_u32(mut self, name: &'static str, shape: &'static str) -> Operands {
        self.outputs.push(Declared { name, dtype: Some(DType::U32), shape, need: Need::Always });
        self
    }

    /// An output whose type and shape the op's own rule gives.
    pub fn out(mut self, name: &'static str) -> Operands {
        self.outputs.push(Declared { name, dtype: None, shape: "*", need: Need::Always });
        self
    }

    /// Memory that the launches need while they run; the op's own rule gives its shape.
    pub fn scratch(mut self, name: &'static str) -> Operands {
        self.scratch.push(name);
        self
    }

    /// The inputs that there are.
    fn present(&self) -> impl Iterator<Item = &Declared> {
        self.inputs.iter().filter(|d| d.need != Need::Never)
    }

    /// Names of the inputs that there may be, for errors.
    pub fn input_names(&self) -> Vec<&'static str> {
        self.present().map(|d| d.name).collect()
    }

    fn number(&self, which: Which, names: impl Iterator<Item = &'static str>, kind: &str) -> Option<usize> {
        match which {
            Which::Number(n) => Some(n),
            Which::Name(name) => {
                let found = names.into_iter().position(|known| known == name);
                let declared = || self.inputs.iter().any(|d| d.name == name && kind == "input");
                assert!(found.is_some() || declared(), "there is no {kind} {name:?}: see its `operands`, {self:?}");
                found
            }
        }
    }

    /// The number of an input; None where the op has none.
    ///
    /// # Panics
    /// If none of that name is declared.
    pub fn input_number(&self, which: impl Into<Which>) -> Option<usize> {
        self.number(which.into(), self.present().map(|d| d.name), "input")
    }

    /// As [`Operands::input_number`], of an output.
    pub fn output_number(&self, which: impl Into<Which>) -> usize {
        self.number(which.into(), self.outputs.iter().map(|d| d.name), "output").expect("outputs are not optional")
    }

    /// As [`Operands::input_number`], of a scratch buffer.
    pub fn scratch_number(&self, which: impl Into<Which>) -> usize {
        self.number(which.into(), self.scratch.iter().copied(), "scratch").expect("scratch is not optional")
    }

    /// Where operand `name` of an op with this number of inputs lies; None if no operand has that name. Outputs come first: one that
    /// is written over a state shares the state's name and place.
    pub fn find(&self, name: &str, inputs: usize) -> Option<Place> {
        let output = self.outputs.iter().position(|d| d.name == name).map(Place::Output);
        let scratch = || self.scratch.iter().position(|known| *known == name).map(Place::Scratch);
        let input = || self.present().position(|d| d.name == name).filter(|&n| n < inputs).map(Place::Input);
        let absent = || self.inputs.iter().any(|d| d.name == name).then_some(Place::Absent);
        output.or_else(scratch).or_else(input).or_else(absent)
    }

    /// The extents of the axes that the patterns name.
    ///
    /// # Errors
    /// Too few inputs or too many, one of another type or shape than it is declared with.
    pub fn check(&self, op: &str, specs: &[Spec]) -> Result<Extents> {
        let least = self.present().take_while(|d| d.need == Need::Always).count();
        let most = if self.many { usize::MAX } else { self.present().count() };
        let names = self.input_names();
        let given = || {
            let name = |i: usize| names.get(i).map_or(format!("input {i}"), |name| name.to_string());
            let all: Vec<String> = specs.iter().enumerate().map(|(i, s)| format!("{} {}", name(i), s.shape)).collect();
            all.join(", ")
        };
        if !(least..=most).contains(&specs.len()) {
            let takes = names.join(", ");
            let n = specs.len();
            return Err(Error::shape(
                op,
                format!("takes {takes}: found {n} inputs, expected {least} (inputs: {})", given()),
            ));
        }
        let mut extents = Extents::default();
        for (declared, spec) in self.present().zip(specs) {
            let Declared { name, dtype, shape, .. } = declared;
            if let Some(want) = dtype.filter(|&want| want != spec.dtype) {
                let found = spec.dtype;
                return Err(Error::shape(
                    op,
                    format!("{name} is of {found:?}, expected {want:?} (inputs: {})", given()),
                ));
            }
            if !extents.fit(shape, &spec.shape) {
                let want = extents.describe(shape);
                return Err(Error::shape(
                    op,
                    format!("{name} is {}, expected {want} (inputs: {})", spec.shape, given()),
                ));
            }
        }
        Ok(extents)
    }

    /// Types and shapes of the outputs, where all are declared.
    pub fn outputs(&self, extents: &Extents) -> Vec<Spec> {
        let spec = |d: &Declared| Spec {
            shape: extents
                .shape(d.shape)
                .unwrap_or_else(|| panic!("output {} has no declared shape: write `infer`", d.name)),
            dtype: d.dtype.unwrap_or_else(|| panic!("output {} has no declared type: write `infer`", d.name)),
        };
        self.outputs.iter().map(spec).collect()
    }
}

/// The extents of named axes, and the axes that `..` stands for.
#[derive(Clone, Debug, Default)]
pub struct Extents {
    named: Vec<(&'static str, usize)>,
    rest: Option<Vec<usize>>,
}

/// `factor * extent of name + added`; without a name that is `added`.
struct Axis {
    factor: usize,
    name: &'static str,
    added: usize,
}

impl Axis {
    fn parse(text: &'static str) -> Axis {
        let (term, added) = text.split_once('+').map_or((text, 0), |(term, n)| (term, n.parse().expect("a number")));
        let (factor, name) = term.split_at(term.find(|c: char| !c.is_ascii_digit()).unwrap_or(term.len()));
        match (factor.parse(), name) {
            (Ok(n), "") => Axis { factor: 0, name: "", added: n },
            (factor, name) => Axis { factor: factor.unwrap_or(1), name, added },
        }
    }
}

impl Extents {
    /// The extent of a named axis.
    ///
    /// # Panics
    /// If no pattern names it.
    pub fn get(&self, name: &str) -> usize {
        self.known(name).unwrap_or_else(|| panic!("no input has an axis {name:?}"))
    }

    fn known(&self, name: &str) -> Option<usize> {
        self.named.iter().find(|(known, _)| *known == name).map(|(_, n)| *n)
    }

    fn value(&self, axis: &Axis) -> Option<usize> {
        if axis.name.is_empty() { Some(axis.added) } else { Some(axis.factor * self.known(axis.name)? + axis.added) }
    }

    /// Whether `axis` can have `extent`; a name that is new has it from then on.
    fn fit_axis(&mut self, axis: &Axis, extent: usize) -> bool {
        if let Some(value) = self.value(axis) {
            return value == extent;
        }
        let Some(n) = extent.checked_sub(axis.added).filter(|n| n.is_multiple_of(axis.factor)) else { return false };
        self.named.push((axis.name, n / axis.factor));
        true
    }

    fn fit(&mut self, pattern: &'static str, shape: &Shape) -> bool {
        if pattern == "*" {
            return true;
        }
        let axes: Vec<&str> = pattern.split_whitespace().collect();
        let dots = axes.iter().position(|axis| *axis == "..");
        let fixed = axes.len() - dots.is_some() as usize;
        if shape.len() < fixed || dots.is_none() && shape.len() > fixed {
            return false;
        }
        let before = dots.unwrap_or(fixed);
        let after = shape.len() - (fixed - before);
        if dots.is_some() {
            let rest = &shape[before..after];
            if self.rest.get_or_insert_with(|| rest.to_vec()) != rest {
                return false;
            }
        }
        let named = axes.into_iter().filter(|axis| *axis != "..").map(Axis::parse);
        named.zip(shape[..before].iter().chain(&shape[after..])).all(|(axis, &extent)| self.fit_axis(&axis, extent))
    }

    /// The shape of `pattern`; None where not all of it is known.
    fn shape(&self, pattern: &'static str) -> Option<Shape> {
        let mut shape = vec![];
        for axis in pattern.split_whitespace() {
            match axis {
                "*" => return None,
                ".." => shape.extend(self.rest.as_ref()?),
                axis => shape.push(self.value(&Axis::parse(axis))?),
            }
        }
        Some(Shape::from(shape))
    }

    /// `[b, t]`, and what that is as far as it is known: `[b, t] = [2, 3]`.
    fn describe(&self, pattern: &'static str) -> String {
        let axes: Vec<&str> = pattern.split_whitespace().collect();
        let known = self.shape(pattern).map(|shape| format!(" = {shape}")).unwrap_or_default();
        format!("[{}]{known}", axes.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(operands: &Operands, shapes: &[&[usize]]) -> std::result::Result<Vec<Spec>, String> {
        let specs: Vec<Spec> = shapes.iter().map(|s| Spec::f32(Shape::from(*s))).collect();
        operands.check("op", &specs).map(|extents| operands.outputs(&extents)).map_err(|e| e.to_string())
    }

    #[test]
    fn one_name_is_one_extent() {
        let gru = Operands::new().f32("x", "b t 3h").f32("weight", "h 3h").f32("ends", "b+1").out_f32("y", "b t h");
        assert_eq!(check(&gru, &[&[2, 5, 12], &[4, 12], &[3]]).unwrap()[0].shape[..], [2, 5, 4]);
        let message = check(&gru, &[&[2, 5, 12], &[12, 4], &[3]]).unwrap_err();
        assert!(message.contains("weight is [12, 4], expected [h, 3h] = [4, 12]"), "{message}");
        assert!(message.contains("x [2, 5, 12], weight [12, 4], ends [3]"), "{message}");
        assert!(
            check(&gru, &[&[2, 5, 13], &[4, 12], &[3]]).unwrap_err().contains("x is [2, 5, 13], expected [b, t, 3h]")
        );
        assert!(check(&gru, &[&[2, 5, 12], &[4, 12], &[2]]).unwrap_err().contains("ends is [2], expected [b+1] = [3]"));
        assert!(check(&gru, &[&[2, 5, 12]]).unwrap_err().contains("found 1 inputs, expected 3"));
    }

    #[test]
    fn dots_are_the_same_axes_everywhere() {
        let norm = Operands::new().f32("x", ".. d").f32("gain", "d").f32("r", ".. d").out_f32("stats", ".. 2");
        assert_eq!(check(&norm, &[&[3, 4, 5], &[5], &[3, 4, 5]]).unwrap()[0].shape[..], [3, 4, 2]);
        assert_eq!(check(&norm, &[&[5], &[5], &[5]]).unwrap()[0].shape[..], [2]);
        assert!(check(&norm, &[&[3, 4, 5], &[5], &[4, 3, 5]]).unwrap_err().contains("r is [4, 3, 5]"));
        assert!(check(&norm, &[&[], &[5], &[]]).is_err());
    }

    #[test]
    fn what_an_op_has_not_is_passed_over() {
        let op = |bias| Operands::new().f32("x", "n").f32("bias", "n").when(bias).f32("step", "1").out_f32("y", "n");
        assert_eq!([true, false].map(|bias| op(bias).input_number("step")), [Some(2), Some(1)]);
        assert_eq!(op(false).input_number("bias"), None);
        assert_eq!(op(false).find("bias", 2), Some(Place::Absent));
        assert_eq!(op(false).find("bia", 2), None);
        let optional = Operands::new().f32("x", "n d").f32("counts", "4").optional();
        assert!(check(&optional, &[&[3, 2]]).is_ok() && check(&optional, &[&[3, 2], &[4]]).is_ok());
        assert_eq!(optional.find("counts", 1), Some(Place::Absent));
    }
}
