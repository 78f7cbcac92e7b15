//! Attributes that S3-Rec predicts while it is pre-trained: of the items that are seen (AAP, `attribute_weight`) and of the hidden
//! ones (MAP, `hidden_attribute_weight`). They are what `model.features` names, which is not added to the items then:
//!
//! | `model.features` | attributes | the vector of one |
//! |---|---|---|
//! | `category` | the categories of an item | a row of a table |
//! | `text` | each item is its own only one | relu(W text + b) |
//!
//! The score of an attribute at a place is (W h + b) . a, its loss the binary cross entropy, and that of a place the sum over all
//! attributes: softplus of each score, less the product with the sum of the item's own attributes.

use crate::data::items::Modality;
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::kernels::matmul::Activation;
use crate::nn::{Init, Params, Tower};

/// Attributes of items.
#[derive(Clone, Debug, PartialEq)]
pub struct Attributes {
    tower: Tower,
    /// Weights of those of seen items, and of hidden ones.
    weights: [f64; 2],
    /// Padding is an attribute too, which no item has, as in the public code.
    with_padding: bool,
}

/// The attributes in a graph.
pub struct Vectors<'g> {
    /// \[A, d\].
    each: Var<'g>,
    /// The sum of those that each item has, and zeros for a hidden one: \[items + 2, d\].
    pub of_items: Var<'g>,
}

impl Attributes {
    const BIAS: &'static str = "features.text.bias";
    /// The linear maps of places, seen and hidden: `pretext.NAME.*`.
    pub const MAPS: [&'static str; 2] = ["attribute", "hidden_attribute"];

    /// Of what `tower` reads, d = `dim` wide.
    ///
    /// # Errors
    /// Not one kind, of which attributes can be made; settings that join kinds.
    pub fn new(tower: Option<&Tower>, dim: usize, weights: [f64; 2], with_padding: bool) -> Result<Attributes> {
        let kinds: Vec<&str> = tower.iter().flat_map(|tower| tower.known.iter()).map(|known| known.name).collect();
        let known = [Modality::Category, Modality::Text].map(Modality::name);
        let Some(tower) = tower.filter(|_| kinds.len() == 1 && known.contains(&kinds[0])) else {
            let problem = "expected [\"category\"] or [\"text\"] with model.pretext.attributes=true";
            return Err(Error::Usage(format!("model.features: found {kinds:?}; {problem}")));
        };
        if tower.config.experts.is_some() {
            let problem = "found experts; expected linear with model.pretext.attributes=true";
            return Err(Error::Usage(format!("model.fusion: {problem}")));
        }
        let mut tower = tower.clone().apart(dim)?;
        // Attributes are what is predicted: nothing of them is dropped or made up.
        (tower.config.learned, tower.config.dropout) = (false, 0.0);
        Ok(Attributes { tower, weights, with_padding })
    }

    fn is_text(&self) -> bool {
        self.tower.known[0].name == Modality::Text.name()
    }

    /// A, the number of attributes.
    pub fn count(&self) -> usize {
        let features = self.tower.known[0].features;
        match (self.is_text(), self.with_padding) {
            (true, true) => features.rows,
            (true, false) => features.rows - 1,
            (false, _) => features.width,
        }
    }

    pub fn weights(&self) -> [f64; 2] {
        self.weights
    }

    pub fn declare(&self, params: &mut Params, init: Init) {
        self.tower.declare(params, init);
        if self.is_text() {
            params.add(Attributes::BIAS, [self.tower.dim()], Init::Constant(0.0));
        }
    }

    pub fn vectors<'g>(&self, params: &Params, g: &'g Graph) -> Vectors<'g> {
        let d = self.tower.dim();
        let of_items = g.prepared("attributes", || {
            let own = self.tower.kinds(params, g)[0];
            let own = if self.is_text() { (own + params.var(g, Attributes::BIAS)).relu() } else { own };
            g.concat(0, &[own, g.scalar(0.0).expand([1, d])])
        });
        let each = match (self.is_text(), self.with_padding) {
            (true, true) => of_items.slice(0, 0, self.count()),
            (true, false) => of_items.slice(0, 1, self.count()),
            (false, _) => params.var(g, "tower.category.weight").reshape([self.count(), d]),
        };
        Vectors { each, of_items }
    }
}

impl<'g> Vectors<'g> {
    /// The loss of each of P places, \[P\], of q = W h + b \[.., d\]; `items` \[..\] are those whose attributes are right.
    pub fn losses(&self, q: Var<'g>, items: Var<'g>) -> Var<'g> {
        let (p, d) = (items.shape().elements(), q.shape().last_dim());
        let [q, own] = [q, self.of_items.gather(items)].map(|x| x.reshape([p, d]));
        q.linear(self.each, None, Activation::None).softplus().sum(1) - (q * own).sum(1)
    }
}
