//! What a twin gets to work on: typed slices of its operands.

use super::{Operands, Which};
use crate::tensor::{DType, Shape, Spec};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, Ordering};

/// One operand in host memory.
#[derive(Clone)]
pub struct Operand {
    pub spec: Spec,
    pub at: *mut u8,
}

impl Operand {
    /// Bytes of its elements, floats as f64 if `wide`.
    pub fn bytes(&self, wide: bool) -> usize {
        let element = if wide && self.spec.dtype == DType::F32 { 8 } else { 4 };
        self.spec.shape.elements() * element
    }
}

// SAFETY: a pointer into memory that outlives its use, by the contract of `Args::new`.
unsafe impl Send for Operand {}
unsafe impl Sync for Operand {}

/// The operands of one node, each asked for by the name that the op declares it by. Inputs are shared; each output is handed
/// out once.
pub struct Args<'a, T> {
    inputs: &'a [Operand],
    outputs: &'a [Operand],
    operands: &'a Operands,
    taken: AtomicU32,
    /// The part that the cut operands start with.
    first: usize,
    parts: usize,
    real: PhantomData<T>,
}

impl<'a, T> Args<'a, T> {
    /// `operands` are those of the op.
    ///
    /// # Safety
    /// Every operand must point at memory of its spec's size (8 bytes an `F32` element where `T` is f64), valid for 'a;
    /// no output may overlap another operand, except for a state that the op writes in place.
    pub unsafe fn new(operands: &'a Operands, inputs: &'a [Operand], outputs: &'a [Operand]) -> Args<'a, T> {
        Args { inputs, outputs, operands, taken: AtomicU32::new(0), first: 0, parts: 1, real: PhantomData }
    }

    /// The operands hold `parts` parts of an op that is split, from part `first` on.
    pub fn tile(self, first: usize, parts: usize) -> Args<'a, T> {
        Args { first, parts, ..self }
    }

    /// Number, in the whole output, of the first element of an output as it is given here.
    pub fn first_element(&self, output: impl Into<Which>) -> usize {
        self.out_shape(output).elements() / self.parts * self.first
    }

    pub fn len(&self) -> usize {
        self.inputs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    fn get(&self, input: Which) -> Option<&'a Operand> {
        self.inputs.get(self.operands.input_number(input)?)
    }

    fn input(&self, input: Which) -> &'a Operand {
        self.get(input).unwrap_or_else(|| panic!("{input} is not there"))
    }

    /// Whether there is such an input.
    pub fn has(&self, input: &'static str) -> bool {
        self.get(Which::Name(input)).is_some()
    }

    pub fn shape(&self, input: impl Into<Which>) -> &'a Shape {
        &self.input(input.into()).spec.shape
    }

    pub fn out_shape(&self, output: impl Into<Which>) -> &'a Shape {
        &self.outputs[self.operands.output_number(output)].spec.shape
    }

    pub fn dtype(&self, input: impl Into<Which>) -> DType {
        self.input(input.into()).spec.dtype
    }

    /// An input of floats.
    pub fn f(&self, input: impl Into<Which>) -> &'a [T] {
        let which = input.into();
        let x = self.input(which);
        assert_eq!(x.spec.dtype, DType::F32, "{which} is not of floats");
        // SAFETY: by the contract of `new`.
        unsafe { std::slice::from_raw_parts(x.at as *const T, x.spec.shape.elements()) }
    }

    /// An input of integers.
    pub fn u(&self, input: impl Into<Which>) -> &'a [u32] {
        let which = input.into();
        let x = self.input(which);
        assert_eq!(x.spec.dtype, DType::U32, "{which} is not of integers");
        // SAFETY: by the contract of `new`.
        unsafe { std::slice::from_raw_parts(x.at as *const u32, x.spec.shape.elements()) }
    }

    /// An output of floats. What it holds before is unspecified unless it is a state written in place.
    pub fn out(&self, output: impl Into<Which>) -> &'a mut [T] {
        let x = self.take(output.into(), DType::F32);
        // SAFETY: by the contract of `new`; `take` hands each output out once.
        unsafe { std::slice::from_raw_parts_mut(x.at as *mut T, x.spec.shape.elements()) }
    }

    /// An output of integers.
    pub fn out_u(&self, output: impl Into<Which>) -> &'a mut [u32] {
        let x = self.take(output.into(), DType::U32);
        // SAFETY: by the contract of `new`; `take` hands each output out once.
        unsafe { std::slice::from_raw_parts_mut(x.at as *mut u32, x.spec.shape.elements()) }
    }

    fn take(&self, output: Which, dtype: DType) -> &'a Operand {
        let i = self.operands.output_number(output);
        assert_eq!(self.outputs[i].spec.dtype, dtype, "output {output} has another type");
        let before = self.taken.fetch_or(1 << i, Ordering::Relaxed);
        assert_eq!(before & (1 << i), 0, "output {output} was taken before");
        &self.outputs[i]
    }

    pub fn out_dtype(&self, output: impl Into<Which>) -> DType {
        self.outputs[self.operands.output_number(output)].spec.dtype
    }
}
