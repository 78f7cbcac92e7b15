//! What a list of tasks comes to on data, for people.

use super::{Labels, Places, Sources, Tasks};
use crate::data::dataset::Dataset;
use crate::error::Result;
use crate::text::percent;
use indicatif::HumanCount;
use std::fmt;

/// What a list of tasks comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskSummary {
    /// Share of the events that lie before the cut.
    before: f64,
    /// Share of the users who have less than half of their events before it.
    halved: f64,
    /// Users with fewer than two events before it.
    short: usize,
    tasks: Vec<Line>,
}

/// One task.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    name: String,
    label: String,
    /// 0: items.
    classes: usize,
    /// Labels that are learned, of whole histories before the cut and of their last events.
    learned: [usize; 2],
    window: Option<usize>,
    /// Users who are validated and tested.
    evaluated: [usize; 2],
    /// Events between the cut and the target of the test: the median.
    behind: u32,
    floors: Vec<(&'static str, f64)>,
}

impl TaskSummary {
    /// # Errors
    /// Those of [`Tasks::places`].
    pub fn of(tasks: &Tasks, data: &Dataset, sources: &Sources) -> Result<TaskSummary> {
        let (mut lines, mut cuts) = (vec![], vec![]);
        for at in 0..tasks.all.len() {
            let mut tasks = Tasks { at, ..tasks.clone() };
            let (places, of_tasks) = tasks.places(data, sources)?;
            let window = tasks.all[at].window.take();
            let whole = tasks.places(data, sources)?.0.samples();
            lines.push(Line::of(&tasks, data, sources, (&places, &of_tasks), (whole, window)));
            cuts = of_tasks;
        }
        let lengths: Vec<u32> = (0..data.users() as u32).map(|user| data.history(user).len() as u32).collect();
        let halved = cuts.iter().zip(&lengths).filter(|(cut, length)| 2 * **cut < **length).count();
        let before = cuts.iter().map(|&cut| cut as f64).sum::<f64>() / data.interactions().max(1) as f64;
        let short = cuts.iter().filter(|cut| **cut < 2).count();
        Ok(TaskSummary { before, halved: halved as f64 / cuts.len().max(1) as f64, short, tasks: lines })
    }
}

impl Line {
    fn of(
        tasks: &Tasks,
        data: &Dataset,
        sources: &Sources,
        (places, cuts): (&Places, &[u32]),
        (whole, window): (usize, Option<usize>),
    ) -> Line {
        let task = tasks.this();
        let tested = || (0u32..).zip(places.test()).filter_map(|(user, at)| Some((user, (*at)?)));
        let mut behind: Vec<u32> = tested().map(|(user, at)| at - cuts[user as usize]).collect();
        behind.sort_unstable();
        let targets: Vec<(u32, u32)> = tested().collect();
        let classes = places.labels.as_ref().map_or(0, |labels| labels.classes);
        Line {
            name: task.name.clone(),
            label: task.label.clone().into(),
            classes,
            learned: [whole, places.samples()],
            window,
            evaluated: [places.valid().iter().flatten().count(), targets.len()],
            behind: behind.get(behind.len() / 2).copied().unwrap_or(0),
            floors: places
                .labels
                .as_ref()
                .map_or(vec![], |labels| floors(labels, places, &targets, data, sources, task.of_events())),
        }
    }
}

/// What rules that need no model reach on the targets of a task of classes.
fn floors(
    labels: &Labels,
    places: &Places,
    targets: &[(u32, u32)],
    data: &Dataset,
    sources: &Sources,
    of_events: bool,
) -> Vec<(&'static str, f64)> {
    let share = |hits: usize| hits as f64 / targets.len().max(1) as f64;
    let of = |user: u32, at: u32| labels.get(data, user, at);
    let commonest = |all: &mut dyn Iterator<Item = u32>| {
        let mut counts = vec![0u32; labels.classes + 1];
        all.for_each(|class| counts[class as usize] += 1);
        // Of equals the first.
        (1..counts.len()).rev().max_by_key(|&class| counts[class]).unwrap_or(0) as u32
    };
    let learned = places.learned.iter().zip(0u32..);
    let first = commonest(&mut learned.flat_map(|(own, user)| own.iter().map(move |&at| of(user, at))));
    let hits =
        |rule: &dyn Fn(u32, u32) -> u32| share(targets.iter().filter(|&&(u, at)| rule(u, at) == of(u, at)).count());
    let mut all = vec![("the most frequent class", hits(&|_, _| first))];
    if of_events {
        all.push(("the last item's", hits(&|user, at| of(user, at - 1))));
        all.push(("the user's most frequent", hits(&|user, at| commonest(&mut (0..at).map(|place| of(user, place))))));
        if let Some(categories) = &sources.categories {
            let any = |&&(user, at): &&(u32, u32)| {
                let item = data.history(user)[at as usize];
                categories.of_item(item).contains(&(first - 1))
            };
            all.push(("the most frequent as any of an item's", share(targets.iter().filter(any).count())));
        }
    }
    all
}

impl fmt::Display for TaskSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_share = |share: f64| (percent(share) * 10.0).round() / 10.0;
        writeln!(
            f,
            "{:<14} {}% of the events lie before it; {}% of the users have over half of theirs after it, {} fewer than two before it",
            "cut",
            of_share(self.before),
            of_share(self.halved),
            HumanCount(self.short as u64)
        )?;
        for Line { name, label, classes, learned, window, evaluated, behind, floors } in &self.tasks {
            let count = |n: usize| HumanCount(n as u64);
            let label =
                if *classes > 0 { format!("{label}, {}", format_args!("{classes} classes")) } else { label.clone() };
            let of_window = window.map(|n| format!(", {} of them of a user's last {n} events", count(learned[1])));
            writeln!(
                f,
                "{:<14} {label}: {} labels to learn{}; {} users validated, {} tested, a median of {behind} events after the cut",
                format!("task {name}"),
                count(learned[0]),
                of_window.unwrap_or_default(),
                count(evaluated[0]),
                count(evaluated[1])
            )?;
            let floors: Vec<String> = floors.iter().map(|(rule, share)| format!("{rule} {share:.3}")).collect();
            if !floors.is_empty() {
                writeln!(f, "{:<14} without a model: {}", "", floors.join(", "))?;
            }
        }
        Ok(())
    }
}
