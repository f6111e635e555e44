//! What the daemon answers to questions of local clients, as JSON, and how it obeys their commands.

use std::sync::{Arc, Weak};

use serde::Serialize;
use tidings_engine::gateway::{Control, Refused, Viewer};
use tidings_engine::{Engine, EngineError, OverlayId};
use tidings_wire::client::ErrorCode;
use tidings_wire::client::query::Topic;

use super::signals::{Giver, Stop};
use super::view::{self, Facts, NodeView, StatsView};

/// The daemon, as its clients see it.
pub struct NodeControl {
    engine: Weak<Engine>,
    facts: Arc<Facts>,
    stop: Giver,
}

impl NodeControl {
    /// For the clients of `engine`, which it does not keep alive.
    pub fn new(engine: &Arc<Engine>, facts: Arc<Facts>, stop: Giver) -> Self {
        Self {
            engine: Arc::downgrade(engine),
            facts,
            stop,
        }
    }

    fn engine(&self) -> Result<Arc<Engine>, Refused> {
        self.engine
            .upgrade()
            .ok_or(refused(ErrorCode::Leaving, "the daemon is stopping"))
    }

    /// Paths and process of the daemon are its own user's business.
    fn node(&self, engine: &Engine, viewer: Viewer<'_>) -> NodeView {
        view::node(engine, &self.facts, viewer.is_owner())
    }

    fn overlays(
        &self,
        engine: &Engine,
        viewer: Viewer<'_>,
    ) -> Result<Vec<view::OverlayView>, Refused> {
        let mut entries = engine.overlays();
        entries.retain(|entry| viewer.may_see(&entry.name));
        view::overlays(engine, &entries).map_err(explain)
    }

    /// Counters of shards are of all overlays together: the daemon's own user sees them.
    fn stats(&self, engine: &Engine, viewer: Viewer<'_>) -> Result<StatsView, Refused> {
        let stats = engine.stats().map_err(explain)?;
        let mut overlays = Vec::new();
        for overlay in &stats.overlays {
            if !viewer.may_see(&overlay.name) {
                continue;
            }
            let members = match engine.members(overlay.id) {
                Ok(members) => members,
                // Left since it was asked.
                Err(EngineError::Unknown) => continue,
                Err(error) => return Err(explain(error)),
            };
            overlays.push(view::overlay_stats(overlay, &members));
        }
        let shards = stats.shards.iter().enumerate();
        let shards = shards.filter(|_| viewer.is_owner());
        Ok(StatsView {
            node: self.node(engine, viewer),
            panics: viewer.is_owner().then_some(stats.panics),
            discovery: viewer.is_owner().then(|| view::discovery(&stats.discovery)),
            shards: shards
                .map(|(index, shard)| view::shard(index, shard))
                .collect(),
            overlays,
        })
    }
}

impl Control for NodeControl {
    fn answer(&self, what: Topic, overlay: &str, viewer: Viewer<'_>) -> Result<String, Refused> {
        let engine = self.engine()?;
        match what {
            Topic::Members => {
                if !viewer.may_see(overlay) {
                    return Err(refused(ErrorCode::NotAllowed, "name an overlay of yours"));
                }
                let id = find(&engine, overlay, viewer)?;
                let members = engine.members(id).map_err(explain)?;
                let members: Vec<_> = members.iter().map(view::member).collect();
                text(&members)
            }
            Topic::Overlays => text(&self.overlays(&engine, viewer)?),
            Topic::Stats => text(&self.stats(&engine, viewer)?),
            Topic::Node => text(&self.node(&engine, viewer)),
        }
    }

    fn leave(&self, overlay: &str, viewer: Viewer<'_>) -> Result<(), Refused> {
        if overlay.is_empty() {
            self.stop.stop(Stop::Command);
            return Ok(());
        }
        let engine = self.engine()?;
        engine
            .remove_overlay(find(&engine, overlay, viewer)?)
            .map_err(explain)?;
        tracing::info!(overlay, "left, as a client asked");
        Ok(())
    }
}

fn text(answer: &impl Serialize) -> Result<String, Refused> {
    serde_json::to_string(answer).map_err(|error| refused(ErrorCode::Failed, error.to_string()))
}

fn refused(code: ErrorCode, text: impl Into<String>) -> Refused {
    Refused {
        code,
        text: text.into(),
    }
}

fn explain(error: EngineError) -> Refused {
    let code = match error {
        EngineError::Unknown => ErrorCode::NoOverlay,
        EngineError::Stopped => ErrorCode::Leaving,
        EngineError::TooMany => ErrorCode::TooMany,
        _ => ErrorCode::Failed,
    };
    refused(code, error.to_string())
}

fn find(engine: &Engine, overlay: &str, viewer: Viewer<'_>) -> Result<OverlayId, Refused> {
    let mut entries = engine.overlays();
    entries.retain(|entry| viewer.may_see(&entry.name));
    if let Some(entry) = entries.iter().find(|entry| entry.name == overlay) {
        return Ok(entry.id);
    }
    let names: Vec<_> = entries.into_iter().map(|entry| entry.name).collect();
    let here = if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    };
    Err(refused(
        ErrorCode::NoOverlay,
        format!("no overlay named {overlay:?}: this node runs {here}"),
    ))
}
