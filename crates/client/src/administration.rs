//! Administration: endpoints that require the role `admin`.

use miniapp_types::account::{Account, AccountPage, AuditPage, Role, SetDisabled, SetRoles};
use miniapp_types::task::{Task, TaskPage};
use reqwest::Method;
use serde::Serialize;
use uuid::Uuid;

use crate::{Client, Error};

/// Page of a list without filters.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PageQuery {
    /// The page size.
    pub limit: Option<u32>,
    /// `next_cursor` of the previous page.
    pub cursor: Option<String>,
}

impl Client {
    /// Returns a page of all accounts, newest first.
    pub async fn users(&self, page: &PageQuery) -> Result<AccountPage, Error> {
        self.json(self.auth(Method::GET, "users").query(page)).await
    }

    /// Replaces the roles of an account.
    pub async fn set_roles(&self, user: Uuid, roles: &[Role]) -> Result<Account, Error> {
        let body = SetRoles { roles: roles.to_vec() };
        self.json(self.auth(Method::PUT, &format!("users/{user}/roles")).json(&body)).await
    }

    /// Disables an account, which ends its sessions, or enables it.
    pub async fn set_disabled(&self, user: Uuid, disabled: bool) -> Result<Account, Error> {
        let body = SetDisabled { disabled };
        self.json(self.auth(Method::PUT, &format!("users/{user}/disabled")).json(&body)).await
    }

    /// Returns a page of the audit log, newest first.
    pub async fn audit(&self, page: &PageQuery) -> Result<AuditPage, Error> {
        self.json(self.auth(Method::GET, "audit").query(page)).await
    }

    /// Returns a page of the failed tasks of all accounts, newest first.
    pub async fn dead_letters(&self, page: &PageQuery) -> Result<TaskPage, Error> {
        self.json(self.api(Method::GET, "api/dead-letters").query(page)).await
    }

    /// Runs a failed task of any account again.
    pub async fn requeue(&self, id: Uuid) -> Result<Task, Error> {
        self.json(self.api(Method::POST, &format!("api/dead-letters/{id}/requeue"))).await
    }
}
