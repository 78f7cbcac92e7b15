//! Named parameters: where each lies in the state buffers, and how it starts.

use crate::device::{Device, Store, Words};
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::kernels::adam::Adam;
use crate::tensor::philox::Stream;
use crate::tensor::{Shape, Spec, Tensor};
use std::sync::Arc;
use tower::Tower;

pub mod tower;

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Init {
    Constant(f64),
    /// N(0, std^2).
    Normal(f64),
    /// Of a matrix: 1 where row and column are the same, plus N(0, std^2).
    NearIdentity(f64),
}

#[derive(Clone, Debug)]
pub struct Param {
    pub name: String,
    pub shape: Shape,
    pub init: Init,
    /// The state buffer it lies in, and its first element there.
    pub buffer: String,
    pub offset: usize,
}

impl Param {
    fn spec(&self) -> Spec {
        Spec::f32(self.shape.clone())
    }
}

/// The parameters of a model. Small ones share one buffer, so that clipping and Adam are one launch for all of them;
/// large tables have one each.
#[derive(Clone, Default)]
pub struct Params {
    list: Vec<Param>,
    dense: usize,
    leaves: Vec<Leaf>,
    tower: Option<Arc<Tower>>,
}

/// A state that is only read and belongs to no checkpoint.
#[derive(Clone)]
struct Leaf {
    name: String,
    len: usize,
    words: Option<Words>,
}

impl Params {
    /// The buffer that small parameters share, each from a multiple of 64 elements on (256 bytes, the alignment of
    /// bindings).
    pub const DENSE: &str = "dense";
    const SMALL: usize = 1 << 14;

    pub fn new() -> Params {
        Params::default()
    }

    /// Parameters of which `tower` computes that of items, [`Tower::ITEMS`], if there is one: added and asked for as all others, but
    /// not itself a parameter.
    pub fn with_tower(tower: Option<Tower>) -> Params {
        Params { tower: tower.map(Arc::new), ..Params::default() }
    }

    /// What computes the items, if they are no parameter.
    pub fn tower(&self) -> Option<&Tower> {
        self.tower.as_deref()
    }

    /// Declares a state of `len` words that is only read.
    pub fn lend(&mut self, name: &str, len: usize, words: Option<Words>) {
        self.leaves.push(Leaf { name: name.into(), len, words });
    }

    /// Adds the states that are only read to a store. Those whose words are not known are left out.
    ///
    /// # Errors
    /// Words that the device cannot hold.
    pub fn lend_to(&self, device: &Device, store: &mut Store) -> Result<()> {
        for Leaf { name, len, words } in &self.leaves {
            let Some(words) = words else { continue };
            assert_eq!((**words).as_ref().len(), *len, "words of {name}");
            store.lend(device, name, words)?;
        }
        Ok(())
    }

    /// Adds a parameter. Names are unique.
    pub fn add(&mut self, name: &str, shape: impl Into<Shape>, init: Init) {
        let shape = shape.into();
        if let Some(tower) = self.tower.take_if(|_| name == Tower::ITEMS) {
            let tower = tower.of(&shape);
            tower.declare(self, init);
            self.tower = Some(Arc::new(tower));
            return;
        }
        if shape.elements() > Params::SMALL {
            return self.add_apart(name, shape, init);
        }
        let offset = self.dense;
        self.dense = (offset + shape.elements()).next_multiple_of(Adam::BLOCK);
        self.push(name, shape, init, Params::DENSE, offset);
    }

    /// As [`Params::add`], in a buffer of its own whatever its size: for what is not trained and written by the model itself.
    pub fn add_apart(&mut self, name: &str, shape: impl Into<Shape>, init: Init) {
        self.push(name, shape.into(), init, name, 0);
    }

    fn push(&mut self, name: &str, shape: Shape, init: Init, buffer: &str, offset: usize) {
        assert!(self.find(name).is_err(), "two parameters are called {name}");
        self.list.push(Param { name: name.into(), shape, init, buffer: buffer.into(), offset });
    }

    pub fn iter(&self) -> impl Iterator<Item = &Param> {
        self.list.iter()
    }

    /// Number of trained numbers.
    pub fn elements(&self) -> usize {
        self.list.iter().map(|p| p.shape.elements()).sum()
    }

    /// The state buffers that a store needs for these parameters.
    pub fn states(&self) -> Vec<(String, usize)> {
        let tables = self.list.iter().filter(|p| p.buffer != Params::DENSE);
        let tables = tables.map(|p| (p.buffer.clone(), p.shape.elements()));
        tables.chain((self.dense > 0).then(|| (Params::DENSE.to_string(), self.dense))).collect()
    }

    fn find(&self, name: &str) -> Result<&Param> {
        let found = self.list.iter().find(|p| p.name == name);
        found.ok_or_else(|| Error::unknown("parameter", name, self.list.iter().map(|p| p.name.as_str())))
    }

    /// The parameter in a graph, or what computes it; the same node each time. Panics on an unknown name, which is a bug of the
    /// model.
    pub fn var<'g>(&self, graph: &'g Graph, name: &str) -> Var<'g> {
        match self.tower.as_deref().filter(|_| name == Tower::ITEMS) {
            Some(tower) => graph.prepared("items", || tower.table(self, graph).items),
            None => self.stored(graph, name),
        }
    }

    /// A parameter itself: of items, their own vectors, which a tower may add to what it computes.
    pub fn stored<'g>(&self, graph: &'g Graph, name: &str) -> Var<'g> {
        let p = self.find(name).unwrap_or_else(|e| panic!("{e}"));
        graph.state(&p.name, &p.buffer, p.offset, p.spec())
    }

    /// Draws the start values, each parameter from a stream of its own name.
    pub fn initialise(&self, store: &mut Store, seed: u64) -> Result<()> {
        // By blocks: a table of millions of rows does not exist twice.
        const BLOCK: usize = 1 << 20;
        for p in &self.list {
            let mut stream = Stream::new(seed, &p.name, 0);
            let columns = p.shape.last_dim();
            let mut value = |at: usize| match p.init {
                Init::Constant(c) => c as f32,
                Init::Normal(std) => (std * stream.normal()) as f32,
                Init::NearIdentity(std) => {
                    let same = at / columns == at % columns;
                    (if same { 1.0 } else { 0.0 } + std * stream.normal()) as f32
                }
            };
            let n = p.shape.elements();
            for start in (0..n).step_by(BLOCK) {
                let block: Vec<f32> = (start..n.min(start + BLOCK)).map(&mut value).collect();
                store.write(&p.buffer, p.offset + start, &Tensor::f32([block.len()], block))?;
            }
        }
        Ok(())
    }

    /// # Panics
    /// On an unknown name.
    pub fn shape(&self, name: &str) -> Shape {
        self.find(name).unwrap_or_else(|e| panic!("{e}")).shape.clone()
    }

    pub fn read(&self, store: &Store, name: &str) -> Result<Tensor> {
        let p = self.find(name)?;
        store.read(&p.buffer, p.offset, &p.spec())
    }

    /// Writes a parameter; the shape must be its own.
    pub fn write(&self, store: &mut Store, name: &str, tensor: &Tensor) -> Result<()> {
        let p = self.find(name)?;
        if tensor.shape != p.shape {
            return Err(Error::Usage(format!("parameter {name} is {}, but {} was given", p.shape, tensor.shape)));
        }
        store.write(&p.buffer, p.offset, tensor)
    }
}
