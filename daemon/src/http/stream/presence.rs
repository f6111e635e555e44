//! Who comes and goes, as events: `/v1/overlays/{overlay}/presence`. Everybody first, then every change.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Extension;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use serde::Serialize;
use tidings_engine::{NodeId, Presence, PresenceEvent, PresenceKind};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Batch, EventView, Page, Pulse, Woken, answer, place};
use crate::http::auth::Authority;
use crate::http::error::{ApiError, ApiResult};
use crate::http::limits::CHANGES;
use crate::http::patience::Flushes;
use crate::http::query;
use crate::http::serve::Stop;
use crate::http::shared::Shared;
use crate::node::view::{self, MemberView};

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(presence))
}

/// Everybody, as the first event tells.
#[derive(Serialize, ToSchema)]
pub struct Snapshot {
    /// Members, this node included.
    pub members: Vec<MemberView>,
}

/// A change, as an event tells.
#[derive(Serialize, ToSchema)]
pub struct Change {
    /// The member's id.
    pub id: String,
    /// The member as it is now; null: it was forgotten.
    pub member: Option<MemberView>,
}

/// Who is there, and every change from then on, as server-sent events.
///
/// First `snapshot` with everybody, then `member_in`, `member_quarantine`, `member_unreachable`, `member_rejoin`, `member_drop`, `member_out`.
/// Then `closed` when the overlay goes. A reader that is thousands of changes behind hears of the last one of each member.
#[utoipa::path(get, path = "/v1/overlays/{overlay}/presence", tag = "overlays",
    params(("overlay" = String, Path, description = "Name of the overlay")),
    responses((status = 200, description = "Events", body = EventView, content_type = "text/event-stream")))]
async fn presence(
    State(shared): State<Arc<Shared>>,
    Path(overlay): Path<String>,
    RawQuery(query): RawQuery,
    Extension(authority): Extension<Authority>,
    Extension(flushes): Extension<Flushes>,
    Extension(stop): Extension<Stop>,
) -> ApiResult<Response> {
    query::pairs(query.as_deref(), &[])?;
    let place = place(&shared)?;
    let watch = Watch::open(&shared, overlay).await?;
    let pulse = Pulse::new(stop, &shared, authority);
    Ok(answer(place, flushes, |page| watch.write(page, pulse)))
}

/// An open watch.
pub struct Watch {
    presence: Presence,
    shared: Arc<Shared>,
    overlay: String,
}

/// What is next.
enum Next {
    Change(PresenceEvent),
    Closed,
    Woken(Woken),
}

impl Watch {
    /// Watches the overlay that has this name now.
    pub async fn open(shared: &Arc<Shared>, overlay: String) -> ApiResult<Self> {
        let presence = shared.ask_overlay(overlay.clone(), |engine, id| engine.presence(id));
        Ok(Self {
            presence: presence.await?,
            shared: Arc::clone(shared),
            overlay,
        })
    }

    /// Everybody at its beginning.
    pub fn snapshot(&self) -> Snapshot {
        let members = self.presence.snapshot().iter().map(view::member).collect();
        Snapshot { members }
    }

    /// Whether the overlay went, whatever has its name now.
    pub fn is_closed(&self) -> bool {
        self.presence.is_closed()
    }

    /// The next change. None: the overlay went, whatever has its name now.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<PresenceEvent>> {
        match self.presence.poll_next(context) {
            Poll::Pending if self.presence.is_closed() => Poll::Ready(None),
            next => next.map(Some),
        }
    }

    /// A change and those behind it, with the members as they are now: asked for once. `no_overlay`: it went.
    pub async fn changes(
        &mut self,
        first: PresenceEvent,
    ) -> ApiResult<Vec<(&'static str, Change)>> {
        let members = self.shared.ask_overlay(self.overlay.clone(), |engine, id| {
            let members = engine.members(id)?;
            let seen = members
                .iter()
                .map(|member| (member.node, view::member(member)));
            Ok(seen.collect::<BTreeMap<NodeId, MemberView>>())
        });
        let members = members.await?;
        if self.presence.is_closed() {
            // They may be those of another overlay of the same name.
            return Err(ApiError::no_overlay(&self.overlay));
        }
        let (mut changes, mut next) = (Vec::new(), Some(first));
        while let Some(PresenceEvent { kind, node }) = next {
            let member = members.get(&node).cloned();
            let change = Change {
                id: node.to_string(),
                member: member.filter(|_| kind != PresenceKind::Drop),
            };
            changes.push((kind.label(), change));
            next = match changes.len() < CHANGES {
                true => self.presence.try_next(),
                false => None,
            };
        }
        Ok(changes)
    }

    async fn write(mut self, mut page: Page, mut pulse: Pulse) {
        let mut batch = Batch::default();
        batch.event("snapshot", None, &self.snapshot());
        while page.write(batch).await {
            pulse.reset();
            batch = loop {
                match self.next(&mut pulse).await {
                    Next::Change(first) => {
                        let changes = match self.changes(first).await {
                            Ok(changes) => changes,
                            Err(error) if error.code() == "no_overlay" => return close(page).await,
                            // The node stops, or is too busy: who reads begins again.
                            Err(_) => return,
                        };
                        let mut batch = Batch::default();
                        for (kind, change) in &changes {
                            batch.event(kind, None, change);
                        }
                        break batch;
                    }
                    Next::Closed => return close(page).await,
                    Next::Woken(Woken::Stop | Woken::Revoked) => return,
                    Next::Woken(Woken::Beat) => {
                        if !page.beat().await {
                            return;
                        }
                        pulse.reset();
                    }
                }
            };
        }
    }

    async fn next(&mut self, pulse: &mut Pulse) -> Next {
        poll_fn(|context| match pulse.poll(context) {
            // The end before all, the beat after what there is to tell.
            Poll::Ready(end @ (Woken::Stop | Woken::Revoked)) => Poll::Ready(Next::Woken(end)),
            beat => match self.poll_next(context) {
                Poll::Ready(Some(change)) => Poll::Ready(Next::Change(change)),
                Poll::Ready(None) => Poll::Ready(Next::Closed),
                Poll::Pending => beat.map(Next::Woken),
            },
        })
        .await
    }
}

async fn close(mut page: Page) {
    let mut batch = Batch::default();
    batch.event("closed", None, &serde_json::json!({}));
    // Who is gone need not hear it.
    let _ = page.write(batch).await;
}
