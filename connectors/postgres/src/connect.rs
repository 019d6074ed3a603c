//! Connections: their address, their TLS, and what is set at their beginning.

use std::time::Duration;

use levada_connector_api::{Error, Result, Retry};
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config};

use crate::error::{self, During};
use crate::tls::{self, Mode, Tls};

/// Where the server is and how to talk to it.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    config: Config,
    tls: Tls,
    /// `server/database`, for messages: no password.
    pub(crate) place: String,
}

impl Address {
    /// Parses `postgres://…`, `postgresql://…`, `jdbc:postgresql://…` or `host=… dbname=…`, with libpq's parameters. The
    /// user and the password override those of the address.
    ///
    /// # Errors
    /// What is wrong with it; the text is not repeated, for it may hold a password.
    pub(crate) fn parse(url: &str, user: Option<&str>, password: Option<&str>) -> Result<Self, String> {
        let url = url.trim();
        let url = url.strip_prefix("jdbc:").unwrap_or(url);
        let mut tls = Tls::default();
        let plain = match url.split_once("://") {
            Some(("postgres" | "postgresql", _)) => without_tls(url, &mut tls)?,
            Some((scheme, _)) => {
                return Err(format!("'{scheme}' is no scheme of Postgres; write postgres://host:port/database"));
            }
            None => url.to_owned(),
        };
        let mut config: Config = plain.parse().map_err(|e: tokio_postgres::Error| {
            let cause = std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string);
            format!("{cause}; write postgres://host:port/database")
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err("it names no host; write postgres://host:port/database".to_owned());
        }
        user.map(|user| config.user(user));
        password.map(|password| config.password(password));
        config.ssl_mode(match tls.mode {
            Mode::Disable => SslMode::Disable,
            Mode::Prefer => SslMode::Prefer,
            _ => SslMode::Require,
        });
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(10));
        }
        // A server that has vanished is noticed within a minute, not after the system's two hours.
        if !plain.contains("keepalives") {
            config.keepalives_idle(Duration::from_secs(30)).keepalives_interval(Duration::from_secs(10));
            config.keepalives_retries(3);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(Duration::from_secs(60));
        }
        let hosts: Vec<String> = config
            .get_hosts()
            .iter()
            .zip(config.get_ports().iter().chain(std::iter::repeat(&5432)))
            .map(|(host, port)| match host {
                tokio_postgres::config::Host::Tcp(host) => format!("{host}:{port}"),
                tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
            })
            .collect();
        let database = config.get_dbname().or(config.get_user()).unwrap_or("postgres");
        let place = format!("{}/{database}", hosts.join(","));
        Ok(Self { config, tls, place })
    }
}

/// The address without the parameters that are ours to carry out.
fn without_tls(url: &str, tls: &mut Tls) -> Result<String, String> {
    let Some((base, query)) = url.split_once('?') else { return Ok(url.to_owned()) };
    let mut kept = Vec::new();
    for parameter in query.split('&').filter(|p| !p.is_empty()) {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match key {
            "sslmode" => {
                tls.mode = Mode::parse(value)
                    .ok_or_else(|| format!("'{value}' is no sslmode; use one of {}", Mode::NAMES.join(", ")))?;
            }
            // JDBC's short form.
            "ssl" if matches!(value, "" | "true") => tls.mode = Mode::VerifyFull,
            "ssl" => {}
            "sslrootcert" => tls.root_cert = Some(value.to_owned()),
            "sslcert" => tls.cert = Some(value.to_owned()),
            "sslkey" => tls.key = Some(value.to_owned()),
            _ => kept.push(parameter),
        }
    }
    Ok(if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) })
}

/// An open connection.
pub(crate) struct Connection {
    pub(crate) client: Client,
    /// Moves the bytes; ends with the connection, and knows why.
    driver: JoinHandle<Result<(), tokio_postgres::Error>>,
}

impl Connection {
    /// Connects as `name`, which shows in the server's list of sessions.
    ///
    /// # Errors
    /// The server cannot be reached or refuses.
    pub(crate) async fn open(address: &Address, name: &str) -> Result<Self> {
        let mut config = address.config.clone();
        if config.get_application_name().is_none() {
            config.application_name(name);
        }
        let failed = |e| error::from(&address.place, e, During::Work);
        let (client, connection) = config.connect(tls::connector(&address.tls)?).await.map_err(failed)?;
        let this = Self { client, driver: tokio::spawn(connection) };
        // What a commit promises must hold whatever the server's default is. Temporary tables and their sorting fit into
        // memory; keys are looked up in the index, of which most is cached, rather than by reading the whole table. A
        // transaction may wait for its next rows; but a client that has vanished loses its session, and with it its locks,
        // within a minute.
        let settings = "SELECT set_config('synchronous_commit', 'on', false) \
                            WHERE current_setting('synchronous_commit') = 'off'; \
                        SET temp_buffers = '64MB'; SET client_min_messages = warning; \
                        SET idle_in_transaction_session_timeout = 0; \
                        SET work_mem = '64MB'; SET random_page_cost = 1.1; \
                        SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3";
        this.client.batch_execute(settings).await.map_err(failed)?;
        Ok(this)
    }

    /// Tries again after `delay`, up to `attempts` times in all.
    ///
    /// # Errors
    /// The last one.
    pub(crate) async fn open_patiently(address: &Address, name: &str, attempts: u32, delay: Duration) -> Result<Self> {
        let mut left = attempts;
        loop {
            left = left.saturating_sub(1);
            match Self::open(address, name).await {
                Err(error) if left > 0 && error.retry() == Retry::Retriable => {
                    tracing::warn!("{error}; {left} more attempts");
                    tokio::time::sleep(delay).await;
                }
                answer => return answer,
            }
        }
    }

    /// The error, with what ended the connection where that is more telling.
    pub(crate) async fn explain(&mut self, place: &str, cause: tokio_postgres::Error, during: During) -> Error {
        if cause.as_db_error().is_none() && self.client.is_closed() {
            let ended = tokio::time::timeout(Duration::from_secs(1), &mut self.driver).await;
            if let Ok(Ok(Err(reason))) = ended
                && reason.as_db_error().is_some()
            {
                return error::from(place, reason, during);
            }
        }
        error::from(place, cause, during)
    }

    /// Says goodbye and waits until the server has heard it.
    pub(crate) async fn close(self) {
        drop(self.client);
        // There is nothing left to lose: what counts is committed.
        let _ = tokio::time::timeout(Duration::from_secs(5), self.driver).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_libpq_and_jdbc_write_them() {
        for (url, place, mode) in [
            ("postgres://me@db:6000/shop", "db:6000/shop", Mode::Prefer),
            ("postgresql://db/shop?sslmode=require&connect_timeout=3", "db:5432/shop", Mode::Require),
            ("jdbc:postgresql://db/shop?ssl=true&sslrootcert=/ca.pem", "db:5432/shop", Mode::VerifyFull),
            ("host=db dbname=shop user=me", "db:5432/shop", Mode::Prefer),
        ] {
            let address = Address::parse(url, Some("you"), Some("secret")).unwrap();
            assert_eq!((address.place.as_str(), address.tls.mode), (place, mode), "{url}");
            assert_eq!(address.config.get_user(), Some("you"));
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for url in ["mysql://me:secret@db/x", "postgres://me:secret@db/x?sslmode=maybe", "dbname=x password=secret"] {
            let problem = Address::parse(url, None, None).unwrap_err();
            assert!(!problem.contains("secret"), "{problem}");
        }
    }
}
