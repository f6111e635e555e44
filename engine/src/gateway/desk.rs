//! Where connections turn to: which shard runs an overlay, and the control thread for everything that is no message.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam::queue::ArrayQueue;
use tidings_wire::OverlayId;
use tidings_wire::client::auth::Refusal;
use tidings_wire::client::query::{Answer, MAX_ANSWER, Topic};
use tidings_wire::client::{ErrorCode, Kind, Request};

use super::client::Client;
use super::grant::{Grants, Rights};
use super::limits::QUESTIONS_MAX;
use super::mail::Mailbox;
use super::refusals::LoginRefusals;
use super::wake::Wake;
use crate::engine::Inner;
use crate::session::Session;
use crate::shard::door::Errand;
use crate::sys::eventfd::EventFd;
use crate::whereabouts::Whereabouts;

/// The daemon's side: it knows the node, and obeys commands.
pub trait Control: Send {
    /// Answers a question about an overlay, or with an empty name about all, in JSON: as much of it as `viewer` may see.
    fn answer(&self, what: Topic, overlay: &str, viewer: Viewer<'_>) -> Result<String, Refused>;

    /// Leaves an overlay; with an empty name all, and has the daemon stop.
    fn leave(&self, overlay: &str, viewer: Viewer<'_>) -> Result<(), Refused>;
}

/// Who asks.
#[derive(Clone, Copy)]
pub struct Viewer<'a>(&'a Rights);

impl Viewer<'_> {
    /// Whether it may hear of an overlay.
    pub fn may_see(&self, overlay: &str) -> bool {
        self.0.may_use(overlay)
    }

    /// Whether it may hear of the process itself: it is the daemon's own user.
    pub fn is_owner(&self) -> bool {
        self.0.may_command()
    }
}

/// Why a question or command was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The kind of refusal.
    pub code: ErrorCode,
    /// A sentence for people.
    pub text: String,
}

/// Where an overlay runs.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) id: OverlayId,
    at: Arc<Whereabouts>,
}

impl Place {
    /// Its shard, now.
    pub(crate) fn shard(&self) -> usize {
        self.at.shard()
    }

    /// For a session that will sit there.
    pub(crate) fn wake(&self) -> Wake {
        Wake::new(self.at.doors())
    }

    /// Has the overlay's shard make a session. `false`: the shard takes no command now.
    pub(crate) fn attach(&self, make: impl FnOnce() -> Box<dyn Session> + Send + 'static) -> bool {
        let errand: Errand = Box::new(move |shard, slot| {
            // An overlay that went meanwhile leaves the session unmade: its descriptor or link closes, which tells the client.
            if let Some(slot) = slot {
                shard.seat(slot, make(), |_| ());
            }
        });
        self.at.door().try_visit(self.id, errand)
    }
}

/// A question or command of a client, on its way to the control thread.
pub(crate) struct Question {
    request: u32,
    about: About,
    overlay: String,
    client: Arc<Client>,
    mailbox: Arc<Mailbox>,
}

#[derive(Clone, Copy)]
enum About {
    Query(Topic),
    Leave,
}

impl Question {
    /// `None`: the request is neither.
    pub(crate) fn new(
        request: &Request<'_>,
        client: &Arc<Client>,
        mailbox: &Arc<Mailbox>,
    ) -> Option<Self> {
        let (number, about, overlay) = match request {
            Request::Query(query) => (query.request, About::Query(query.what), query.overlay),
            Request::Leave(leave) => (leave.request, About::Leave, leave.overlay),
            _ => return None,
        };
        let (client, mailbox) = (Arc::clone(client), Arc::clone(mailbox));
        Some(Self {
            request: number,
            about,
            overlay: overlay.to_owned(),
            client,
            mailbox,
        })
    }
}

/// The frame that answers a question or command.
pub(crate) fn answer(control: &dyn Control, rights: &Rights, request: &Request<'_>) -> Vec<u8> {
    match request {
        Request::Query(query) => reply(
            control,
            rights,
            query.request,
            About::Query(query.what),
            query.overlay,
        ),
        Request::Leave(leave) => reply(control, rights, leave.request, About::Leave, leave.overlay),
        _ => Vec::new(),
    }
}

fn reply(
    control: &dyn Control,
    rights: &Rights,
    request: u32,
    about: About,
    overlay: &str,
) -> Vec<u8> {
    let refused = |code, text: &str| Refused {
        code,
        text: text.to_owned(),
    };
    let (kind, result) = match about {
        About::Query(_) if !overlay.is_empty() && !rights.may_use(overlay) => (
            Kind::Query,
            Err(refused(
                ErrorCode::NotAllowed,
                "this client may not use this overlay",
            )),
        ),
        About::Query(what) => (Kind::Query, control.answer(what, overlay, Viewer(rights))),
        About::Leave if !rights.may_command() => (
            Kind::Leave,
            Err(refused(
                ErrorCode::NotAllowed,
                "only the daemon's own user may tell it to leave",
            )),
        ),
        About::Leave => (
            Kind::Leave,
            control
                .leave(overlay, Viewer(rights))
                .map(|()| "{}".to_owned()),
        ),
    };
    let result = match result {
        Ok(json) if json.len() > MAX_ANSWER => Err(refused(
            ErrorCode::TooLarge,
            "the answer is too large for one frame",
        )),
        result => result,
    };
    let mut frame = Vec::new();
    match result {
        Ok(json) => Answer {
            request,
            json: &json,
        }
        .encode(&mut frame),
        Err(Refused { code, text }) => {
            let refusal = Refusal {
                code,
                fatal: false,
                refused: kind as u8,
                number: request,
                text: &text,
            };
            refusal.encode(&mut frame);
        }
    }
    frame
}

/// See the module.
pub(crate) struct Desk {
    questions: ArrayQueue<Question>,
    pub(crate) bell: EventFd,
    places: Mutex<Arc<HashMap<String, Place>>>,
    /// Clients that may attach from now on.
    grants: Mutex<Option<Grants>>,
    /// Of the control thread.
    pub(crate) refusals: LoginRefusals,
    engine: Arc<Inner>,
}

impl Desk {
    pub(crate) fn new(bell: EventFd, engine: Arc<Inner>) -> Self {
        Self {
            engine,
            questions: ArrayQueue::new(QUESTIONS_MAX),
            bell,
            places: Mutex::default(),
            grants: Mutex::default(),
            refusals: LoginRefusals::default(),
        }
    }

    /// Looks which overlays run now. Never called on a shard: the engine may be waiting for one.
    pub(crate) fn refresh(&self) {
        // Held from the look on: of two that look at once the later one is to be seen.
        let mut seen = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let mut places = HashMap::new();
        for running in self.engine.all_running() {
            let shared = &running.shared;
            let place = Place {
                id: shared.id,
                at: Arc::clone(&shared.at),
            };
            places.insert(shared.name.clone(), place);
        }
        *seen = Arc::new(places);
    }

    fn places(&self) -> Arc<HashMap<String, Place>> {
        Arc::clone(&self.places.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn place(&self, overlay: &str) -> Option<Place> {
        self.places().get(overlay).cloned()
    }

    /// The first overlay, by name, that lives on a shard.
    pub(crate) fn any_on(&self, shard: usize) -> Option<(String, Place)> {
        let places = self.places();
        let here = places.iter().filter(|(_, place)| place.shard() == shard);
        here.min_by(|a, b| a.0.cmp(b.0))
            .map(|(name, place)| (name.clone(), place.clone()))
    }

    /// Why an overlay cannot be used.
    pub(crate) fn why_not(&self, rights: &Rights, overlay: &str) -> (ErrorCode, String) {
        if !rights.may_use(overlay) {
            if let Rights::Granted(grant) = rights {
                tracing::warn!(client = %grant.name, ?overlay, "denied: it may not use that overlay");
            }
            return (
                ErrorCode::NotAllowed,
                format!("this client may not use the overlay {overlay}"),
            );
        }
        let mut names: Vec<String> = self.places().keys().cloned().collect();
        names.retain(|name| rights.may_use(name));
        names.sort_unstable();
        if names.iter().any(|name| name == overlay) {
            return (
                ErrorCode::Busy,
                format!("the shard of {overlay} is too busy to take this now"),
            );
        }
        let text = match names.is_empty() {
            true => format!("no overlay named {overlay:?}: this node runs none"),
            false => format!(
                "no overlay named {overlay:?}: this node runs {}",
                names.join(", ")
            ),
        };
        (ErrorCode::NoOverlay, text)
    }

    /// Has the control thread take other grants.
    pub(crate) fn set_grants(&self, grants: Grants) {
        *self.grants.lock().unwrap_or_else(PoisonError::into_inner) = Some(grants);
        self.bell.signal();
    }

    /// By the control thread: the grants that came.
    pub(crate) fn take_grants(&self) -> Option<Grants> {
        let mut grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        grants.take()
    }

    /// By a connection: has the control thread answer. `false`: too many questions wait.
    pub(crate) fn ask(&self, question: Question) -> bool {
        let taken = self.questions.push(question).is_ok();
        self.bell.signal();
        taken
    }

    /// By the control thread: answers everything that was asked.
    pub(crate) fn answer_all(&self, control: &dyn Control) {
        while let Some(Question {
            request,
            about,
            overlay,
            client,
            mailbox,
        }) = self.questions.pop()
        {
            mailbox.push(reply(control, &client.rights, request, about, &overlay));
            if let About::Leave = about {
                self.refresh();
            }
        }
    }
}
