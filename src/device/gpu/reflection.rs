//! What an entry point of a shader asks for.

/// A storage buffer that an entry point uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The global's name, which is that of an operand.
    pub name: String,
    pub number: u32,
    /// Declared `read_write`.
    pub writes: bool,
}

/// What an entry point asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reflection {
    pub bindings: Vec<Binding>,
    pub workgroup_size: [u32; 3],
    pub workgroup_bytes: u32,
    pub immediate_bytes: u32,
}
