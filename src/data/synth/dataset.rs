//! The embedded world as a data set.

use super::{Behaviour, Domain, World, WorldConfig};
use crate::data::readers::Interner;
use crate::data::{Catalogue, Clock, DataConfig, Dataset, Interactions};
use crate::error::Result;

impl DataConfig {
    /// The clicks of the embedded world, or the behaviours that are in use, as a data set: ids are the world's own numbers, values its
    /// ratings. And the world, and whether nothing was filtered out.
    pub fn load_world(&self, world: &WorldConfig, seed: u64) -> Result<(Dataset, Domain, bool)> {
        let world = World::generate(world, seed)?.domains.swap_remove(0);
        let log = if self.behaviours.is_empty() { world.clicks() } else { world.all_behaviours() };
        let (mut users, mut items) = (Interner::default(), Interner::default());
        let intern =
            |to: &mut Interner, id: &u32| to.intern(id.to_string().as_bytes()).expect("few ids, all of digits");
        let mut interactions = Interactions {
            user: log.user.iter().map(|id| intern(&mut users, id)).collect(),
            item: log.item.iter().map(|id| intern(&mut items, id)).collect(),
            time: log.time,
            value: Some(log.rating),
            behaviour: Some(log.behaviour),
            behaviours: Behaviour::ALL.iter().map(|b| b.name().to_string()).collect(),
            parts: None,
            user_names: users.names,
            item_names: items.names,
            clock: Clock::Milliseconds,
            unended: false,
            notes: vec![],
        };
        let (filter, drawn) = (self.filter(), interactions.len());
        filter.check(&interactions)?;
        let notes = filter.apply(&mut interactions);
        let mut data = Dataset::new(interactions, self.ties, notes);
        if self.catalogue == Catalogue::Features {
            data.add_items((1..=world.items.len()).map(|id| id.to_string()));
        }
        let data = self.hold_out(data)?;
        let whole = data.interactions() == drawn;
        Ok((data, world, whole))
    }
}
