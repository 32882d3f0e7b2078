use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;

use super::Options;
use super::install::Install;
use crate::certificate::Certificate;
use crate::{ports, scratch};

/// Virtual hosts are created in batches, because creating one takes as long.
const HOST_BATCH_SIZE: usize = 24;
/// Runs the server and its own `epmd` until a command or the end of its input. The input ends
/// with the test process, however that ends; then the files are removed, too.
const GUARD: &str = r#"
directory=$1 epmd=$2; shift 2
"$epmd" >/dev/null 2>&1 &
names=$!
"$@" >>"$directory/log" 2>&1 &
server=$!
echo "$server" >"$directory/pid"
read -r word
case $word in
    stop) kill -CONT "$server"; kill -TERM "$server" ;;
    *) kill -KILL "$server" ;;
esac
wait "$server"
kill -KILL "$names"
# A restarted server needs the port.
wait "$names"
[ "$word" ] || rm -rf -- "$directory"
"#;

/// The files, ports and processes of a server.
pub(super) struct Node {
    install: Install,
    pub directory: PathBuf,
    name: String,
    pub options: Options,
    pub ports: Ports,
    pub guard: Mutex<Option<Child>>,
    /// Unused virtual hosts, and the number of all created ones.
    hosts: Mutex<(Vec<String>, usize)>,
}

#[derive(Clone, Copy)]
pub(super) struct Ports {
    pub amqp: u16,
    pub tls: u16,
    pub management: u16,
    nodes: u16,
    names: u16,
}

impl Node {
    pub fn new(options: Options) -> Result<Self> {
        let install = Install::find()?;
        let directory = scratch::directory("miniapp-rabbit-")?.keep();
        let ports = Ports::find();
        let node = Self {
            name: format!("miniapp-{}@localhost", ports.amqp),
            install,
            directory,
            options,
            ports,
            guard: Mutex::default(),
            hosts: Mutex::default(),
        };
        node.configure()?;
        Ok(node)
    }

    fn configure(&self) -> Result<()> {
        let Ports { amqp, tls, management, .. } = self.ports;
        let mut settings = vec![
            format!("listeners.tcp.1 = 127.0.0.1:{amqp}"),
            "log.console = true".to_owned(),
            "log.console.level = warning".to_owned(),
            "log.file = false".to_owned(),
        ];
        if self.options.has_tls {
            let certificate = Certificate::for_localhost()?;
            let path = self.directory.display();
            for (name, pem) in [
                ("ca.pem", &certificate.authority),
                ("cert.pem", &certificate.chain),
                ("key.pem", &certificate.key),
            ] {
                fs::write(self.directory.join(name), pem)?;
            }
            settings.extend([
                format!("listeners.ssl.1 = 127.0.0.1:{tls}"),
                format!("ssl_options.cacertfile = {path}/ca.pem"),
                format!("ssl_options.certfile = {path}/cert.pem"),
                format!("ssl_options.keyfile = {path}/key.pem"),
            ]);
        }
        let mut plugins = "[].";
        if self.options.has_management {
            settings.extend([
                "management.tcp.ip = 127.0.0.1".to_owned(),
                format!("management.tcp.port = {management}"),
            ]);
            plugins = "[rabbitmq_management].";
        }
        fs::write(self.directory.join("rabbitmq.conf"), settings.join("\n") + "\n")?;
        fs::write(self.directory.join("plugins"), plugins)?;
        Ok(())
    }

    pub fn guarded(&self) -> Result<Child> {
        let mut command = Command::new("sh");
        command
            .args(["-c", GUARD, "guard"])
            .arg(&self.directory)
            .arg(self.install.epmd())
            .arg(self.install.server())
            // Ctrl-C must not stop the guard, which cleans up.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        self.configure_command(&mut command);
        command.spawn().context("can't start a shell")
    }

    /// Points a program of RabbitMQ to this server rather than the one of the system.
    fn configure_command(&self, command: &mut Command) {
        let at = |name: &str| self.directory.join(name);
        command
            .current_dir(&self.directory)
            .env("HOME", &self.directory)
            .env("RABBITMQ_CONF_ENV_FILE", at("none"))
            .env("RABBITMQ_CONFIG_FILE", at("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", at("plugins"))
            .env("RABBITMQ_MNESIA_BASE", at("data"))
            .env("RABBITMQ_LOG_BASE", at("logs"))
            .env("RABBITMQ_NODENAME", &self.name)
            .env("RABBITMQ_DIST_PORT", self.ports.nodes.to_string())
            .env("ERL_EPMD_PORT", self.ports.names.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            // Makes the script `exec` the server instead of waiting for it.
            .env("RUNNING_UNDER_SYSTEMD", "true")
            .env_remove("NOTIFY_SOCKET");
    }

    pub fn ctl(&self, arguments: &[String]) -> Result<String> {
        let mut command = Command::new(self.install.ctl());
        self.configure_command(&mut command);
        let output = command.arg("--quiet").args(arguments).output().context("no rabbitmqctl")?;
        ensure!(
            output.status.success(),
            "rabbitmqctl {} fails: {}{}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub fn host(&self) -> Result<String> {
        let mut hosts = self.hosts.lock();
        let (unused, created) = &mut *hosts;
        if unused.is_empty() {
            let (first, last) = (*created + 1, *created + HOST_BATCH_SIZE);
            let making = format!(
                "[begin H = iolist_to_binary([\"test\", integer_to_list(N)]), \
                 ok = rabbit_vhost:add(H, <<\"tests\">>), \
                 ok = rabbit_auth_backend_internal:set_permissions(<<\"guest\">>, H, \
                 <<\".*\">>, <<\".*\">>, <<\".*\">>, <<\"tests\">>) \
                 end || N <- lists:seq({first}, {last})]."
            );
            self.ctl(&["eval".to_owned(), making])?;
            unused.extend((first..=last).rev().map(|number| format!("test{number}")));
            *created = last;
        }
        unused.pop().context("there is no virtual host")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        match self.guard.get_mut().take() {
            Some(mut guard) => {
                drop(guard.stdin.take());
                let _ = guard.wait();
            }
            None => drop(fs::remove_dir_all(&self.directory)),
        }
    }
}

impl Ports {
    fn find() -> Self {
        let [amqp, tls, management, nodes, names] = [(); 5].map(|()| ports::free());
        Self { amqp, tls, management, nodes, names }
    }
}
