//! Owns what is found out of earlier work before the same is begun again: the
//! newest operation about something, and those that run. It begins nothing.

use diesel::SqliteConnection;

use super::{Operation, OperationError, OperationKind, Operations, store};

impl Operations {
    /// The newest operation of this kind that is about this, as it is now; `None`
    /// when there was none, or it was removed with older ones.
    ///
    /// # Errors
    /// The database's.
    pub async fn newest(
        &self,
        kind: OperationKind,
        target: &str,
    ) -> Result<Option<Operation>, OperationError> {
        let mut running = self.running_of(kind);
        running.retain(|operation| operation.target == target);
        if let Some(operation) = running.pop() {
            return Ok(Some(operation));
        }
        let target = target.to_owned();
        let find =
            move |connection: &mut SqliteConnection| store::newest(connection, kind, &target);
        Ok(self.0.database.read("newest_operation", find).await?)
    }

    /// The operations of this kind that run in this process, in no order; those
    /// that wait for a turn of their own are among them.
    pub fn running_of(&self, kind: OperationKind) -> Vec<Operation> {
        let running = self.lock();
        let now = running.values().map(|running| running.now.borrow().clone());
        now.filter(|operation| operation.kind == Some(kind) && !operation.state.is_terminal())
            .collect()
    }
}
