//! A shader's text read with naga: what its entry points bind and take, and errors with the file and line they are in.
//! Needs no GPU.

use super::bind;
use super::reflection::{Binding, Reflection};
use crate::error::{Error, Result};
use crate::graph::launch::Source;
use crate::graph::plan::Planned;
use crate::kernels::source::{Assembled, assemble};
use crate::kernels::{Caps, Launch};
use std::fmt::Write;

/// A complete shader.
pub struct Shader {
    /// For errors: `shaders/softmax.wgsl`.
    pub file: String,
    pub entry: &'static str,
    text: Assembled,
    /// No file holds the text: errors print it.
    generated: bool,
    /// See [`Launch::generated`].
    pub(super) checked: bool,
}

impl Shader {
    /// The shader of `launch` of `node`, with the order of groups and invocations reversed if `reverse`.
    pub fn of(node: &Planned, launch: &Launch, reverse: bool) -> Shader {
        let (file, generated) = match &launch.source {
            Source::File(stem) => (format!("shaders/{stem}.wgsl"), false),
            Source::Generated(_) => ("generated shader".to_string(), true),
        };
        let mut text = assemble(&launch.source, &launch.constants, reverse);
        text.halve(&bind::halves(node, launch, &text.text));
        Shader { file, entry: launch.entry, text, generated, checked: launch.checked }
    }

    /// See [`Assembled::end_loops_after`].
    pub fn end_loops_after(mut self, turns: u64) -> Shader {
        self.text.end_loops_after(turns);
        self
    }

    /// See [`Assembled::make_inexact`].
    pub fn make_inexact(mut self) -> Shader {
        self.text.make_inexact();
        self
    }

    /// The text for a device without immediates: its parameters are uniform binding 0 of group 1.
    pub(super) fn with_uniforms(&self) -> String {
        self.text().replace("var<immediate> ", "@group(1) @binding(0) var<uniform> ")
    }

    pub fn text(&self) -> &str {
        &self.text.text
    }

    /// `shaders/softmax.wgsl:12:5` for a byte offset.
    fn place(&self, offset: usize) -> String {
        let before = &self.text()[..offset.min(self.text().len())];
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1;
        format!("{}:{column}", self.text.locate(line))
    }

    /// The generated text with the numbers of its lines.
    fn listing(&self) -> String {
        let lines = self.text().lines().enumerate().filter(|_| self.generated);
        lines.map(|(i, line)| format!("\n{} | {line}", self.text.locate(i + 1))).collect()
    }

    fn fail(&self, spans: impl Iterator<Item = (naga::Span, String)>, message: &str) -> Error {
        let mut places = String::new();
        for (span, label) in spans {
            if let Some(range) = span.to_range() {
                write!(places, "\n  {}: {label}", self.place(range.start)).expect("a string takes all");
            }
        }
        Error::Device(format!("{}: {message}{places}{}", self.file, self.listing()))
    }

    /// Parses and validates the shader.
    pub fn parse(&self) -> Result<(naga::Module, naga::valid::ModuleInfo)> {
        let module = naga::front::wgsl::parse_str(self.text())
            .map_err(|e| self.fail(e.labels().map(|(span, label)| (span, label.to_string())), e.message()))?;
        let mut validator =
            naga::valid::Validator::new(naga::valid::ValidationFlags::all(), naga::valid::Capabilities::all());
        let info = validator.validate(&module).map_err(|e| {
            let mut message = e.to_string();
            let mut source = std::error::Error::source(e.as_inner());
            while let Some(cause) = source {
                write!(message, ": {cause}").expect("a string takes all");
                source = cause.source();
            }
            self.fail(e.spans().cloned(), &message)
        })?;
        Ok((module, info))
    }

    /// What the entry point uses.
    pub fn reflect(&self) -> Result<Reflection> {
        let entry = self.entry;
        let (module, info) = self.parse()?;
        let fail = |message: String| Error::Device(format!("{}: {message}{}", self.file, self.listing()));
        let Some(number) = module.entry_points.iter().position(|e| e.name == entry) else {
            let known: Vec<&str> = module.entry_points.iter().map(|e| e.name.as_str()).collect();
            return Err(fail(format!("has no entry point {entry:?}, only {}", known.join(", "))));
        };
        let used = info.get_entry_point(number);
        let mut found = Reflection {
            bindings: vec![],
            workgroup_size: module.entry_points[number].workgroup_size,
            workgroup_bytes: 0,
            immediate_bytes: 0,
        };
        for (_, global) in module.global_variables.iter().filter(|(handle, _)| !used[*handle].is_empty()) {
            let bytes = module.types[global.ty].inner.size(module.to_ctx());
            match (global.space, &global.binding) {
                (naga::AddressSpace::Immediate, _) => found.immediate_bytes = bytes,
                (naga::AddressSpace::WorkGroup, _) => found.workgroup_bytes += bytes.next_multiple_of(16),
                (naga::AddressSpace::Private, _) => {}
                (naga::AddressSpace::Storage { access }, Some(at)) if at.group == 0 => found.bindings.push(Binding {
                    name: global.name.clone().unwrap_or_default(),
                    number: at.binding,
                    writes: access.contains(naga::StorageAccess::STORE),
                }),
                _ => {
                    return Err(fail(format!(
                        "{} of {entry} is neither a storage buffer of group 0 nor an immediate",
                        global.name.as_deref().unwrap_or("a global")
                    )));
                }
            }
        }
        Ok(found)
    }

    /// An error where an adapter of `caps` cannot run what `reflect` found.
    pub fn fits(&self, found: &Reflection, caps: &Caps) -> Result<()> {
        let invocations: u32 = found.workgroup_size.iter().product();
        let limits = [
            ("storage buffers", found.bindings.len() as u32, MAX_BINDINGS),
            ("bytes of immediates", found.immediate_bytes, MAX_IMMEDIATE_BYTES),
            ("invocations in a workgroup", invocations, caps.max_invocations),
            ("bytes of workgroup memory", found.workgroup_bytes, caps.workgroup_bytes),
        ];
        match limits.iter().find(|(_, want, most)| want > most) {
            None => Ok(()),
            Some((what, want, most)) => Err(Error::Device(format!(
                "{}: {} takes {want} {what}, and at most {most} are allowed",
                self.file, self.entry
            ))),
        }
    }
}

/// Every WebGPU adapter binds as many.
const MAX_BINDINGS: u32 = 8;
/// Every WebGPU adapter that has immediates holds as many.
pub(super) const MAX_IMMEDIATE_BYTES: u32 = 64;
