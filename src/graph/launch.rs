//! What an op asks of a GPU: launches of shader entry points.

use super::Which;
use crate::error::{Error, Result};

/// What the adapter allows; every choice of a launch comes from here, never from a constant.
#[derive(Clone, Debug)]
pub struct Caps {
    pub max_groups: u32,
    pub max_invocations: u32,
    pub workgroup_bytes: u32,
    pub binding_bytes: u64,
    pub subgroups: bool,
    pub f16: bool,
    /// Turns of all loops of an invocation together, after which the driver ends them without a word (llvmpipe: 65,535).
    pub max_turns: u64,
    /// Whether an invocation has the 32-bit registers for the largest tile of matmul: 64 sums and what feeds them, about 160.
    /// No API tells how many there are.
    pub large_tiles: bool,
    pub cooperative: Option<Cooperative>,
}

/// Products of matrices of f16, summed in f32, that a whole subgroup makes (tensor cores).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cooperative {
    /// Rows and columns of each matrix: 8 or 16.
    pub size: u32,
    /// Invocations of the greatest subgroup.
    pub subgroup: u32,
    /// Every subgroup is that large.
    pub fixed: bool,
}

impl Default for Caps {
    /// The least that every WebGPU adapter gives.
    fn default() -> Caps {
        Caps {
            max_groups: 65_535,
            max_invocations: 256,
            workgroup_bytes: 16 << 10,
            binding_bytes: 128 << 20,
            subgroups: false,
            f16: false,
            max_turns: 65_535,
            large_tiles: false,
            cooperative: None,
        }
    }
}

/// Workgroups of a launch, (x, y, z).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid(pub [u32; 3]);

impl Grid {
    /// `groups` workgroups folded into x and y, since one dimension holds at most 65,535, with fewer than y too many; the
    /// shader gets its number by `group_index` of lib/index.wgsl and must check it against the real count.
    pub fn linear(groups: usize, caps: &Caps) -> Result<Grid> {
        let max = caps.max_groups as usize;
        let y = groups.div_ceil(max).max(1);
        let x = groups.div_ceil(y).max(1);
        if y > max {
            return Err(Error::Device(format!(
                "a launch of {groups} workgroups is more than this adapter takes ({max} x {max}); use a smaller batch"
            )));
        }
        Ok(Grid([x as u32, y as u32, 1]))
    }

    /// Enough workgroups of `size` invocations for `n` of them.
    pub fn threads(n: usize, size: usize, caps: &Caps) -> Result<Grid> {
        Grid::linear(n.div_ceil(size), caps)
    }
}

/// Where a launch's shader comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A file of shaders/, by stem.
    File(&'static str),
    /// Text made for these operands (elementwise chains).
    Generated(String),
}

/// One dispatch. Buffers are bound by name: the shader's globals that the entry point uses, matched to the op's operands.
#[derive(Clone, Debug)]
pub struct Launch {
    pub(crate) source: Source,
    pub(crate) entry: &'static str,
    /// Constants prepended to the shader (`const WG: u32 = 64u;`): tile sizes and variants.
    pub(crate) constants: Vec<(&'static str, u32)>,
    /// Bytes of the immediates; exactly as many as the shader's `Params`.
    pub(crate) params: Vec<u8>,
    pub(crate) grid: Grid,
    /// Turns of all loops of an invocation together, at most (see [`turns_of`]); 0 where it has no loop.
    pub(crate) turns: u64,
    /// Names of the shader that stand for operands of other names: another kernel's shader, or an entry point that is launched
    /// once an operand. An operand by number is an input.
    pub(crate) rename: Vec<(&'static str, Which)>,
    /// Whether the device checks that indices lie within buffers: only [`Launch::unchecked`] says no of a shader from elsewhere.
    pub(crate) checked: bool,
}

/// Invocations of a workgroup where a kernel has one an element: whole subgroups of every adapter.
pub const WORKGROUP: usize = 64;

/// Turns of a loop of `rounds` rounds, each with `inner` turns of other loops, as drivers that end loops count them: one more,
/// which only finds that the loop is over. For [`Launch::turns`].
pub fn turns_of(rounds: usize, inner: usize) -> usize {
    rounds * (1 + inner) + 1
}

/// Turns of the tree of lib/reduce.wgsl at most.
pub const TREE: usize = 8 + 1;

/// Turns of a search by halves at most.
pub const SEARCH: usize = 32 + 1;

/// Invocations of a workgroup that shares a row of `n`: a power of two, for the tree of lib/reduce.wgsl.
pub fn group_size(n: usize, caps: &Caps) -> usize {
    if n > 1024 { 1 << caps.max_invocations.min(256).ilog2() } else { WORKGROUP }
}

impl Launch {
    /// An entry point of shaders/FILE.wgsl.
    pub(crate) fn of(file: &'static str, entry: &'static str) -> Launch {
        Launch {
            source: Source::File(file),
            entry,
            constants: vec![],
            params: vec![],
            grid: Grid([1, 1, 1]),
            turns: 0,
            rename: vec![],
            checked: false,
        }
    }

    /// An entry point of the shader `text`. The device checks its indices: reads outside a buffer give some value of it or 0, and
    /// writes outside do nothing or go to some element of it.
    pub fn generated(text: String, entry: &'static str) -> Launch {
        Launch { source: Source::Generated(text), checked: true, ..Launch::of("", entry) }
    }

    /// Without checks, which take time.
    ///
    /// # Safety
    /// For every input that the op accepts, all indices of the shader lie within its buffers and arrays, and its loops end.
    pub unsafe fn unchecked(mut self) -> Launch {
        self.checked = false;
        self
    }

    pub fn source(&self) -> &Source {
        &self.source
    }

    pub fn entry(&self) -> &'static str {
        self.entry
    }

    pub fn constants(&self) -> &[(&'static str, u32)] {
        &self.constants
    }

    /// See [`Launch::turns`].
    pub fn most_turns(&self) -> u64 {
        self.turns
    }

    /// See [`Launch::generated`].
    pub fn is_checked(&self) -> bool {
        self.checked
    }

    pub fn constant(mut self, name: &'static str, value: u32) -> Launch {
        self.constants.push((name, value));
        self
    }

    pub fn params<P: bytemuck::Pod>(mut self, params: P) -> Launch {
        self.params = bytemuck::bytes_of(&params).to_vec();
        self
    }

    /// An invocation's loops make at most `turns` turns together, those within others counted each time.
    pub fn turns(mut self, turns: usize) -> Launch {
        self.turns = turns as u64;
        self
    }

    /// One invocation for each of `n`; the shader's `WG` is the size of a workgroup.
    pub fn threads(self, n: usize, caps: &Caps) -> Result<Launch> {
        Ok(self.constant("WG", WORKGROUP as u32).grid(Grid::threads(n, WORKGROUP, caps)?))
    }

    /// `n` workgroups of `size` invocations; the shader's `WG` is `size`.
    pub fn groups(self, n: usize, size: usize, caps: &Caps) -> Result<Launch> {
        Ok(self.constant("WG", size as u32).grid(Grid::linear(n, caps)?))
    }

    pub fn grid(mut self, grid: Grid) -> Launch {
        self.grid = grid;
        self
    }

    /// Binds the shader's `name` to `operand` of the op, an input if it is a plain number; the first to bind a name has it.
    pub fn bind(mut self, name: &'static str, operand: impl Into<Which>) -> Launch {
        self.rename.push((name, operand.into()));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_folded_with_few_too_many() {
        let caps = Caps::default();
        for groups in [0, 1, 2, 65_535, 65_536, 65_537, 100_003, 131_070, 131_071, 16_777_217, 65_535 * 65_535] {
            let Grid([x, y, z]) = Grid::linear(groups, &caps).unwrap();
            assert!(x <= 65_535 && y <= 65_535 && z == 1);
            let launched = x as usize * y as usize;
            assert!(launched >= groups && launched < groups.max(1) + y as usize, "{groups}: {x} x {y}");
        }
        assert!(Grid::linear(65_535 * 65_535 + 1, &caps).is_err());
    }
}
