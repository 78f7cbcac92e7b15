//! A run that answers: its ids and histories, and the thread which has the device.

use super::counts::Counts;
use super::request::{Answer, Bounds, Recommended, Refusal, Request};
use crate::data::readers::Interner;
use crate::data::{Dataset, Descriptions, Visit};
use crate::device::Store;
use crate::error::{Error, Result};
use crate::train::Session;
use crate::train::session::answers::{Answers, Limits};
use axum::http::StatusCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Instant;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

/// A trained run, opened to answer by.
pub struct Opened {
    pub session: Session,
    pub store: Store,
    pub descriptions: Option<Descriptions>,
    /// What it is, for people: `sasrec of runs/sasrec-1, epoch 12`.
    pub about: String,
}

/// Why requests are not answered.
pub struct Unanswered {
    /// The number of the request that is the cause, where one is.
    pub at: Option<usize>,
    pub refusal: Refusal,
}

impl From<Refusal> for Unanswered {
    fn from(refusal: Refusal) -> Unanswered {
        Unanswered { at: None, refusal }
    }
}

/// A visit that waits for its list.
struct Job {
    visit: Visit,
    k: usize,
    /// After that nobody waits for the list.
    deadline: Instant,
    reply: oneshot::Sender<std::result::Result<Vec<(u32, f32)>, Refusal>>,
}

/// A run that answers, until the last clone of its [`Arc`] is dropped.
pub struct Served {
    pub about: String,
    data: Arc<Dataset>,
    descriptions: Option<Descriptions>,
    /// Title, empty where there is none, and id of each item in lower case.
    names: Vec<(String, String)>,
    users: Interner,
    items: Interner,
    behaviours: Vec<String>,
    /// The behaviour whose items are not recommended again; None if that holds of all.
    target: Option<u8>,
    jobs: mpsc::Sender<Job>,
    /// Whether the device failed at the last batch.
    failed: Arc<AtomicBool>,
}

impl Served {
    /// Compiles the model, and starts the thread that answers; `queue`: visits that may wait.
    ///
    /// # Errors
    /// A model that cannot recommend items; a device that cannot hold the plans; a thread that the system does not grant.
    pub fn start(opened: Opened, bounds: Bounds, (batch, queue): (usize, usize), counts: Counts) -> Result<Served> {
        let Opened { session, store, descriptions, about } = opened;
        let data = session.data.clone();
        let k = bounds.k.min(data.items());
        // A known user's whole history, and what comes after it.
        let events = data.longest() + bounds.items;
        let limits = Limits { k, events, excluded: (events + bounds.items).min(data.items()), batch };
        let answers = session.answers(&store, &limits)?;
        let users = interned((0..data.users() as u32).map(|user| data.user_name(user)))?;
        let items = interned((1..=data.items() as u32).map(|item| data.item_name(item)))?;
        let title = |item: u32| descriptions.as_ref().and_then(|all| all.of(item).title.as_deref());
        let names = |item: u32| (title(item).unwrap_or_default().to_lowercase(), data.item_name(item).to_lowercase());
        let names = (1..=data.items() as u32).map(names).collect();
        let (behaviours, target) = (session.behaviours_of_visits().to_vec(), session.split.target());
        let (jobs, waiting) = mpsc::channel(queue);
        let (of_items, failed) = (data.clone(), Arc::new(AtomicBool::new(false)));
        let fails = failed.clone();
        // The session and the store are what the plans run on.
        let work = move || answer(answers, waiting, &of_items, (session, store), (counts, fails));
        thread::Builder::new().name("answers".to_string()).spawn(work).map_err(crate::threads::refused)?;
        Ok(Served { about, data, descriptions, names, users, items, behaviours, target, jobs, failed })
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

    /// At most `most` items whose title or id has `text` in it: first those that are called so, then those that begin with it, of them
    /// the shortest.
    pub fn search(&self, text: &str, most: usize) -> Vec<u32> {
        let text = text.to_lowercase();
        let key = |(item, (title, id)): (u32, &(String, String))| {
            let begins = [title, id].into_iter().filter_map(|name| name.find(&text)).min()? == 0;
            let exact = *id == text || *title == text;
            Some((!exact, !begins, title.len().max(id.len()), item))
        };
        let mut found: Vec<_> = (1..).zip(&self.names).filter_map(key).collect();
        if found.len() > most {
            found.select_nth_unstable(most);
            found.truncate(most);
        }
        found.sort_unstable();
        found.into_iter().map(|(.., item)| item).collect()
    }

    /// Whether requests are answered: the thread that has the device goes on, and did not fail at the last batch.
    pub fn answers(&self) -> bool {
        !self.jobs.is_closed() && !self.failed.load(Relaxed)
    }

    /// The visit that a request describes, and the ids of its history that the run does not know.
    fn visit(&self, request: &Request, bounds: Bounds) -> std::result::Result<(Visit, Vec<String>), Refusal> {
        let Request { user, history, behaviours, k, exclude, unmasked } = request;
        if !(1..=bounds.k).contains(k) {
            return Err(Refusal::wrong(format!("k: found {k}; expected 1 to {}", bounds.k)));
        }
        for (name, list) in [("history", history), ("exclude", exclude)] {
            if list.len() > bounds.items {
                let (found, most) = (list.len(), bounds.items);
                return Err(Refusal::wrong(format!(
                    "{name}: found {found} items; expected at most {most}, the latest"
                )));
            }
        }
        let mut visit = Visit::default();
        let named = self.behaviours();
        if let Some(user) = user {
            let id = user.to_string();
            let Some(number) = self.user(&id) else {
                let why =
                    format!("user: {id:?} is not in the data of the run; expected a known one, or a history alone");
                return Err(Refusal(StatusCode::NOT_FOUND, why));
            };
            let (items, behaviours) = self.history(number);
            visit.user = Some(number);
            visit.items.extend_from_slice(items);
            visit.behaviours.extend_from_slice(if named.is_empty() { &[] } else { behaviours });
        }
        let (told, events) = (behaviours.len(), history.len());
        if (told > 0 || !named.is_empty()) && told != events {
            let of = if named.is_empty() { "none, since the model reads none".to_string() } else { named.join(", ") };
            let why = format!("behaviours: found {told} for {events} items; expected one for each ({of})");
            return Err(Refusal::wrong(why));
        }
        if named.is_empty() && told > 0 {
            return Err(Refusal::wrong("behaviours: the model reads none; leave them out"));
        }
        let mut unknown = vec![];
        for (at, id) in history.iter().enumerate() {
            let behaviour = behaviours.get(at).map(|behaviour| {
                let number = named.iter().position(|name| name == behaviour);
                number.ok_or_else(|| {
                    let all = named.join(", ");
                    Refusal::wrong(format!("behaviours[{at}]: found {behaviour:?}; expected one of {all}"))
                })
            });
            let behaviour = behaviour.transpose()?;
            let id = id.to_string();
            match self.item(&id) {
                None => unknown.push(id),
                Some(item) => {
                    visit.items.push(item);
                    visit.behaviours.extend(behaviour.map(|number| number as u8));
                }
            }
        }
        if visit.items.is_empty() {
            let why = match (user, history.len()) {
                (None, 0) => {
                    "found neither a user nor a history; expected at least one item to recommend by".to_string()
                }
                (Some(user), _) => format!("user {:?} has no event of an item that the run knows", user.to_string()),
                (None, n) => format!("history: the run knows none of its {n} items; expected ids of the run's items"),
            };
            return Err(Refusal::wrong(why));
        }
        if !unmasked {
            visit.excluded = self.done(&visit);
        }
        visit.excluded.extend(exclude.iter().filter_map(|id| self.item(&id.to_string())));
        Ok((visit, unknown))
    }

    /// The answers to requests, which take their places in the queue together.
    pub async fn recommend(
        &self,
        requests: &[Request],
        bounds: Bounds,
        deadline: Instant,
    ) -> std::result::Result<Vec<Answer>, Unanswered> {
        let mut visits = vec![];
        for (at, request) in requests.iter().enumerate() {
            let visit = self.visit(request, bounds).map_err(|refusal| Unanswered { at: Some(at), refusal })?;
            visits.push((visit, request.k));
        }
        let gone =
            || Refusal(StatusCode::SERVICE_UNAVAILABLE, "the device no longer answers; see the server's log".into());
        let places = self.jobs.try_reserve_many(visits.len()).map_err(|e| match e {
            TrySendError::Full(()) => {
                Refusal(StatusCode::SERVICE_UNAVAILABLE, "the queue is full; ask again in a moment".to_string())
            }
            TrySendError::Closed(()) => gone(),
        })?;
        let mut waiting = vec![];
        for (((visit, unknown), k), place) in visits.into_iter().zip(places) {
            let (reply, list) = oneshot::channel();
            place.send(Job { visit, k, deadline, reply });
            waiting.push((list, unknown));
        }
        let mut answers = vec![];
        for (list, unknown) in waiting {
            let list = list.await.map_err(|_| gone())?.map_err(Unanswered::from)?;
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
    (counts, failed): (Counts, Arc<AtomicBool>),
) {
    while let Some(first) = waiting.blocking_recv() {
        let mut jobs = vec![first];
        while jobs.len() < answers.most() {
            let Ok(next) = waiting.try_recv() else { break };
            jobs.push(next);
        }
        let (all, start) = (jobs.len(), Instant::now());
        jobs.retain(|job| job.deadline > start && !job.reply.is_closed());
        counts.late(all - jobs.len());
        if jobs.is_empty() {
            continue;
        }
        let visits: Vec<(&Visit, usize)> = jobs.iter().map(|job| (&job.visit, job.k)).collect();
        let broken = |why: String| Refusal(StatusCode::INTERNAL_SERVER_ERROR, why);
        let lists = answers.best(&visits);
        failed.store(lists.is_err(), Relaxed);
        let lists = match lists {
            Ok(lists) => lists.into_iter().map(|list| list.map_err(|item| broken(not_finite(data, item)))).collect(),
            Err(e) => {
                eprintln!("error: {e}");
                vec![Err(broken(e.to_string())); jobs.len()]
            }
        };
        counts.batch(jobs.len(), start.elapsed().as_secs_f64());
        for (job, list) in jobs.into_iter().zip(lists) {
            // An error says that the client no longer waits.
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
        "the score of item {item:?} is not finite, so that nothing can be recommended: train it again with a lower train.lr"
    )
}
