//! A run that answers: its ids and histories, and the thread which has the device.

use super::request::{Answer, Bounds, Recommended, Refusal, Request};
use crate::data::readers::Interner;
use crate::data::{Dataset, Descriptions, Visit};
use crate::device::Store;
use crate::error::{Error, Result};
use crate::train::Session;
use crate::train::session::answers::{Answers, Limits};
use axum::http::StatusCode;
use std::sync::Arc;
use std::thread;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};

/// A trained run, opened to answer by.
pub struct Opened {
    pub session: Session,
    pub store: Store,
    pub descriptions: Option<Descriptions>,
    /// What it is, for people: `sasrec of runs/sasrec-1, epoch 12`.
    pub about: String,
}

/// A visit that waits for its list.
struct Job {
    visit: Visit,
    k: usize,
    /// After that nobody waits for the list.
    deadline: Instant,
    reply: oneshot::Sender<std::result::Result<Vec<(u32, f32)>, Refusal>>,
}

/// What is counted of the batches that the device answers.
pub trait Watch: Send + 'static {
    /// A batch of `visits` was answered.
    fn batch(&self, visits: usize, seconds: f64);
    /// Visits nobody waited for any more.
    fn late(&self, visits: usize);
}

/// A run that answers, until the last clone of its [`Arc`] is dropped.
pub struct Served {
    pub about: String,
    data: Arc<Dataset>,
    descriptions: Option<Descriptions>,
    /// Titles in lower case, by item; empty where an item has none.
    titles: Vec<String>,
    users: Interner,
    items: Interner,
    behaviours: Vec<String>,
    /// The behaviour whose items are not recommended again; None if that holds of all.
    target: Option<u8>,
    jobs: mpsc::Sender<Job>,
}

impl Served {
    /// Compiles the model, and starts the thread that answers; `queue`: visits that may wait.
    ///
    /// # Errors
    /// A model that cannot recommend items; a device that cannot hold the plans; a thread that the system does not grant.
    pub fn start(opened: Opened, bounds: Bounds, (batch, queue): (usize, usize), watch: impl Watch) -> Result<Served> {
        let Opened { session, store, descriptions, about } = opened;
        let data = session.data.clone();
        if !data.sets().is_empty() {
            return Err(Error::Usage(
                "the run is pre-trained on several data sets and serves none of them; adapt it to one first"
                    .to_string(),
            ));
        }
        let k = bounds.k.min(data.items());
        let limits = Limits { k, excluded: data.longest() + 2 * bounds.items, batch };
        let answers = session.answers(&store, &limits)?;
        let users = interned((0..data.users() as u32).map(|user| data.user_name(user)))?;
        let items = interned((1..=data.items() as u32).map(|item| data.item_name(item)))?;
        let title = |item: u32| descriptions.as_ref().and_then(|all| all.of(item).title.as_deref());
        let titles = (0..=data.items() as u32).map(|item| title(item).unwrap_or_default().to_lowercase()).collect();
        let (behaviours, target) = (session.behaviours_of_visits().to_vec(), session.split.target());
        let (jobs, waiting) = mpsc::channel(queue);
        let names = data.clone();
        // The session and the store are what the plans run on.
        let work = move || answer(answers, waiting, &names, (session, store), watch);
        thread::Builder::new().name("answers".to_string()).spawn(work).map_err(crate::threads::refused)?;
        Ok(Served { about, data, descriptions, titles, users, items, behaviours, target, jobs })
    }

    /// The number of a user of the run's data.
    pub fn user(&self, id: &str) -> Option<u32> {
        self.users.find(id.as_bytes())
    }

    /// The number of an item.
    pub fn item(&self, id: &str) -> Option<u32> {
        self.items.find(id.as_bytes()).map(|number| number + 1)
    }

    /// Number of items.
    pub fn items(&self) -> usize {
        self.data.items()
    }

    /// The events of a known user.
    pub fn history(&self, user: u32) -> (&[u32], &[u8]) {
        (self.data.history(user), self.data.behaviours(user).unwrap_or_default())
    }

    /// The behaviours that events are named by; empty where the model reads none.
    pub fn behaviours(&self) -> &[String] {
        &self.behaviours
    }

    /// The items of the visit's history that are not recommended again.
    pub fn done(&self, visit: &Visit) -> Vec<u32> {
        let Some(target) = self.target else { return visit.items.clone() };
        let events = visit.items.iter().zip(&visit.behaviours);
        events.filter(|(_, behaviour)| **behaviour == target).map(|(item, _)| *item).collect()
    }

    pub fn title(&self, item: u32) -> Option<&str> {
        self.descriptions.as_ref().and_then(|all| all.of(item).title.as_deref())
    }

    pub fn id(&self, item: u32) -> &str {
        self.data.item_name(item)
    }

    /// At most `most` items whose title or id has `text` in it: first those that begin with it, of them the shortest titles.
    pub fn search(&self, text: &str, most: usize) -> Vec<u32> {
        let text = text.to_lowercase();
        let all = 1..=self.items() as u32;
        let place = |item: &u32| {
            let of_title = self.titles[*item as usize].find(&text);
            let of_id = self.id(*item).to_lowercase().find(&text);
            [of_title, of_id].into_iter().flatten().min()
        };
        let key = |item: u32| Some((place(&item)? > 0, self.titles[item as usize].len(), item));
        let mut found: Vec<(bool, usize, u32)> = all.filter_map(key).collect();
        found.sort_unstable();
        found.into_iter().take(most).map(|(.., item)| item).collect()
    }

    /// The answers to requests, which take their places in the queue together.
    pub async fn recommend(
        &self,
        requests: &[Request],
        bounds: Bounds,
        deadline: Instant,
    ) -> std::result::Result<Vec<Answer>, Refusal> {
        let several = requests.len() > 1;
        let place = |at: usize, refusal: Refusal| if several { refusal.of(at) } else { refusal };
        let visits = requests.iter().enumerate().map(|(at, request)| {
            let visit = request.visit(self, bounds).map_err(|refusal| place(at, refusal))?;
            Ok((visit, request.k))
        });
        let visits: Vec<_> = visits.collect::<std::result::Result<_, Refusal>>()?;
        let full = |_| {
            let why = "the queue is full; ask again in a moment".to_string();
            Refusal(StatusCode::SERVICE_UNAVAILABLE, why)
        };
        let places = self.jobs.try_reserve_many(visits.len()).map_err(full)?;
        let mut waiting = vec![];
        for (((visit, unknown), k), place) in visits.into_iter().zip(places) {
            let (reply, list) = oneshot::channel();
            place.send(Job { visit, k, deadline, reply });
            waiting.push((list, unknown));
        }
        let mut answers = vec![];
        for (list, unknown) in waiting {
            let gone = |_| {
                let why = "the device no longer answers; see the server's log".to_string();
                Refusal(StatusCode::SERVICE_UNAVAILABLE, why)
            };
            let list = list.await.map_err(gone)??;
            let of = |(item, score)| Recommended {
                item: self.id(item).to_string(),
                score,
                title: self.title(item).map(str::to_string),
            };
            answers.push(Answer { items: list.into_iter().map(of).collect(), unknown });
        }
        Ok(answers)
    }
}

/// Answers what waits, as much at once as there is, until nobody can ask any more.
fn answer(
    mut answers: Answers,
    mut waiting: mpsc::Receiver<Job>,
    data: &Dataset,
    _kept: (Session, Store),
    watch: impl Watch,
) {
    while let Some(first) = waiting.blocking_recv() {
        let mut jobs = vec![first];
        while jobs.len() < answers.most() {
            let Ok(next) = waiting.try_recv() else { break };
            jobs.push(next);
        }
        let (all, start) = (jobs.len(), Instant::now());
        jobs.retain(|job| job.deadline > start && !job.reply.is_closed());
        watch.late(all - jobs.len());
        if jobs.is_empty() {
            continue;
        }
        let visits: Vec<(&Visit, usize)> = jobs.iter().map(|job| (&job.visit, job.k)).collect();
        let failed = |why: String| Refusal(StatusCode::INTERNAL_SERVER_ERROR, why);
        let lists = match answers.best(&visits) {
            Ok(lists) => lists.into_iter().map(|list| list.map_err(|item| failed(not_finite(data, item)))).collect(),
            Err(e) => vec![Err(failed(e.to_string())); jobs.len()],
        };
        watch.batch(jobs.len(), start.elapsed().as_secs_f64());
        for (job, list) in jobs.into_iter().zip(lists) {
            // Who has gone away does not hear it.
            let _ = job.reply.send(list);
        }
    }
}

fn interned<'a>(mut names: impl Iterator<Item = &'a str>) -> Result<Interner> {
    let mut all = Interner::default();
    let done = names.try_for_each(|name| all.intern(name.as_bytes()).map(drop));
    done.map(|()| all).map_err(|_| Error::Failed("more ids than can be numbered".to_string()))
}

fn not_finite(data: &Dataset, item: u32) -> String {
    let item = data.item_name(item);
    format!(
        "the score of item {item:?} is not finite, so that nothing can be recommended: the run must be trained anew"
    )
}
