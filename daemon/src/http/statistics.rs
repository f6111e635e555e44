//! What happened lately: `/v1/overlays/{overlay}/statistics/{window}`. The samples are kept by `windows`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{ApiError, ApiResult};
use super::reply::Json;
use super::shared::{Shared, stats_of};
use super::windows::{COUNTED, WINDOWS, Within};
use crate::node::view::{self, LatencyView};

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(statistics))
}

/// What happened within a window.
#[derive(Serialize, ToSchema)]
pub struct Statistics {
    /// The overlay.
    #[schema(example = "news")]
    overlay: String,
    /// The window that was asked for.
    #[schema(value_type = String, example = "1h")]
    pub window: &'static str,
    /// Seconds that the counts are of: less than the window if the overlay has not run for so long.
    covers_s: f64,
    /// Whether that is the whole window. `total` always is.
    complete: bool,
    /// How often, or how many bytes.
    pub counts: BTreeMap<&'static str, u64>,
    /// The same for each second.
    per_second: BTreeMap<&'static str, f64>,
    /// How old messages published here were when they were acknowledged.
    latency: LatencyView,
}

/// What happened within a window, sampled every 10 s.
#[utoipa::path(get, path = "/v1/overlays/{overlay}/statistics/{window}", tag = "statistics", operation_id = "statistics",
    params(("overlay" = String, Path, description = "Name of the overlay"),
        ("window" = String, Path, description = "total, 1d, 12h, 6h, 3h, 1h, 30m, 10m or 1m")),
    responses((status = 200, description = "Counts, rates and latencies", body = Statistics)))]
async fn statistics(
    State(shared): State<Arc<Shared>>,
    Path((overlay, window)): Path<(String, String)>,
) -> ApiResult<Json<Statistics>> {
    look(&shared, overlay, &window).await.map(Json)
}

/// What happened in an overlay within a window.
pub async fn look(shared: &Shared, overlay: String, window: &str) -> ApiResult<Statistics> {
    let known = WINDOWS.iter().find(|(name, _)| *name == window);
    let (name, wanted) = *known.ok_or_else(|| {
        let names: Vec<&str> = WINDOWS.iter().map(|(name, _)| *name).collect();
        ApiError::bad(
            "no_window",
            format!("there is no window {window:?}"),
            format!("the windows are {}", names.join(", ")),
        )
    })?;
    let now = shared.facts.since.elapsed();
    let stats = shared.ask_overlay(overlay.clone(), stats_of).await?;
    let Within {
        covers,
        is_complete,
        counts,
        latencies,
    } = shared.windows().within(&stats, now, wanted);
    let seconds = covers.as_secs_f64();
    let rate = |count: u64| match seconds > 0.0 {
        true => count as f64 / seconds,
        false => 0.0,
    };
    Ok(Statistics {
        overlay,
        window: name,
        covers_s: seconds,
        complete: is_complete,
        per_second: COUNTED.into_iter().zip(counts.map(rate)).collect(),
        counts: COUNTED.into_iter().zip(counts).collect(),
        latency: view::latency(&latencies, stats.latency.max_ns()),
    })
}
