//! What there is: every path with its methods.

use super::ApiContext;
use axum::Router;

/// Everything, ready to serve.
pub(super) fn router(context: ApiContext) -> Router {
    Router::new().with_state(context)
}
