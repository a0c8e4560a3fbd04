//! The service is killed in the middle of registrations and password resets, again and again.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::resume_unwind,
    sync::{Arc, Mutex},
};

use auth_tests::{
    PASSWORD, email_of,
    process::{Service, Signal},
};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    task::{JoinSet, LocalSet},
};

use crate::data::{Data, on_each_database};

on_each_database! {
    nothing_is_half_done_or_forgotten_after_a_crash
}

/// Fifty with both databases.
const CRASHES: usize = 25;
const CLIENTS: usize = 5;
const NEW_PASSWORD: &str = "another long password";

/// What the service told its clients, by the name of the account.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<BTreeMap<String, Steps>>>);

/// The steps of one account that were answered.
#[derive(Clone, Copy, Default)]
struct Steps {
    is_registered: bool,
    is_reset_requested: bool,
    is_reset: bool,
}

impl Told {
    fn note(&self, name: &str, note: impl FnOnce(&mut Steps)) {
        note(self.0.lock().unwrap().entry(name.to_owned()).or_default());
    }

    fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().keys().cloned().collect()
    }

    fn of(&self, name: &str) -> Steps {
        self.0
            .lock()
            .unwrap()
            .get(name)
            .copied()
            .unwrap_or_default()
    }
}

async fn nothing_is_half_done_or_forgotten_after_a_crash(data: Data) {
    let data = Arc::new(data);
    let told = Told::default();
    for crash in 0..CRASHES {
        let service = Arc::new(data.service().start().await);
        let crowd = LocalSet::new();
        crowd
            .run_until(async {
                let (answered, mut answers) = watch::channel(0);
                let mut clients = JoinSet::new();
                for client in 0..CLIENTS {
                    let visit = Visit {
                        service: Arc::clone(&service),
                        data: Arc::clone(&data),
                        told: told.clone(),
                        answered: answered.clone(),
                    };
                    clients.spawn_local(visit.until_the_end(format!("u{crash}-{client}")));
                }
                // Each time a little later, in the midst of all the others.
                let until = crash % 15;
                answers.wait_for(|count| *count >= until).await.unwrap();
                service.signal(Signal::KILL);
                clients.abort_all();
                while let Some(client) = clients.join_next().await {
                    if let Err(error) = client
                        && error.is_panic()
                    {
                        resume_unwind(error.into_panic());
                    }
                }
            })
            .await;
        drop(crowd);
        let service = Arc::into_inner(service).unwrap();
        service.end().await;
        data.is_quiet().await;
        whole_accounts(&data, &told).await;
    }

    // What was in hand at the last crash goes out as well.
    data.leases_are_over().await;
    let service = data.service().start().await;
    data.everything_is_sent().await;
    let accounts = whole_accounts(&data, &told).await;
    assert!(accounts.len() > CRASHES, "{}", accounts.len());
    for (name, is_reset) in &accounts {
        let passwords = [PASSWORD, NEW_PASSWORD];
        for (n, password) in passwords.into_iter().enumerate() {
            let login = service.post(
                "/auth/login",
                json!({"username": name, "password": password}),
            );
            let wanted = if (n == 1) == *is_reset { 200 } else { 401 };
            assert_eq!(login.await.status, wanted, "{name}, {is_reset}");
        }
    }
    // What is not there was never begun: the name is free.
    for name in told.names() {
        if !accounts.contains_key(&name) {
            service.registered(&name).await;
        }
    }
    assert!(!service.log().contains("ERROR"), "{}", service.log());
}

/// A client until its service is gone.
struct Visit {
    service: Arc<Service>,
    data: Arc<Data>,
    told: Told,
    answered: watch::Sender<usize>,
}

impl Visit {
    async fn until_the_end(self, name: String) {
        for n in 0.. {
            if self.whole(&format!("{name}-{n}")).await.is_none() {
                break;
            }
        }
    }

    /// Registers, asks for a new password and sets it.
    async fn whole(&self, name: &str) -> Option<()> {
        let email = email_of(name);
        self.told.note(name, |_| {});
        let body = json!({"username": name, "email": email, "password": PASSWORD});
        self.post("/auth/register", &body, 201).await?;
        self.told.note(name, |steps| steps.is_registered = true);
        self.post(
            "/auth/password-reset-request",
            &json!({"email": email}),
            200,
        )
        .await?;
        self.told
            .note(name, |steps| steps.is_reset_requested = true);
        let mail = self.data.home.mail("password_reset", &email).await;
        let body = json!({"token": mail.token(), "new_password": NEW_PASSWORD});
        self.post("/update-password", &body, 200).await?;
        self.told.note(name, |steps| steps.is_reset = true);
        Some(())
    }

    /// `None` when the service did not answer to the end.
    async fn post(&self, path: &str, body: &Value, status: u16) -> Option<()> {
        let url = format!("{}{path}", self.service.base());
        let answer = self.service.http().post(url).json(body).send().await.ok()?;
        let answered = answer.status().as_u16();
        let text = answer.text().await.ok()?;
        assert_eq!(answered, status, "{path}: {text}");
        self.answered.send_modify(|count| *count += 1);
        Some(())
    }
}

/// Every account, and whether its password was reset, after a check that each has all of its parts, each mail its cause and each cause its mail, and
/// that nothing is missing that was answered.
async fn whole_accounts(data: &Data, told: &Told) -> BTreeMap<String, bool> {
    let rows = data
        .rows(
            "select u.username
                 || ' ' || (select count(*) from auth.sessions where user_id = u.id)
                 || ' ' || (select count(*) from auth.refresh_tokens t join auth.sessions s on s.id = t.session_id where s.user_id = u.id)
                 || ' ' || (select count(*) from auth.mailed_tokens where user_id = u.id and purpose = 'verify_email')
                 || ' ' || (select count(*) from auth.mailed_tokens where user_id = u.id and purpose = 'reset_password')
                 || ' ' || (select count(*) from auth.audit_log where user_id = u.id and event = 'registered')
                 || ' ' || (select count(*) from auth.audit_log where user_id = u.id and event = 'password_reset_requested')
                 || ' ' || (select count(*) from auth.audit_log where user_id = u.id and event = 'password_reset')
             from auth.users u",
        )
        .await;
    let mut accounts = BTreeMap::new();
    let mut causes = Vec::new();
    for row in rows {
        let words: Vec<&str> = row.split(' ').collect();
        let (is_requested, is_reset) = match words[1..] {
            ["1", "1", "1", "0", "1", "0", "0"] => (false, false),
            ["1", "1", "1", "1", "1", "1", "0"] => (true, false),
            // It ended what was open.
            ["0", "0", "1", "1", "1", "1", "1"] => (true, true),
            _ => panic!("half an account: {row}"),
        };
        let mut cause = |template: &str| causes.push((email_of(words[0]), template.to_owned()));
        cause("welcome");
        if is_requested {
            cause("password_reset");
        }
        if is_reset {
            cause("password_changed");
        }
        let steps = told.of(words[0]);
        assert!(
            is_requested || !steps.is_reset_requested,
            "forgotten: {row}"
        );
        assert!(is_reset || !steps.is_reset, "forgotten: {row}");
        accounts.insert(words[0].to_owned(), is_reset);
    }
    causes.sort_unstable();
    assert_eq!(
        data.mails().await,
        causes,
        "left: mails, right: their causes"
    );

    let told = told.0.lock().unwrap();
    let registered = told.iter().filter(|(_, steps)| steps.is_registered);
    let forgotten: BTreeSet<_> = registered
        .map(|(name, _)| name)
        .filter(|name| !accounts.contains_key(*name))
        .collect();
    assert!(forgotten.is_empty(), "{forgotten:?}");
    accounts
}
