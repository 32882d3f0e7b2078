# The whole platform as local processes: the services and the servers that they need. Their data is
# in one folder.
{
  lib,
  writeText,
  writeShellScript,
  writeShellApplication,
  bash,
  coreutils,
  mailpit,
  postgresql_17,
  process-compose,
  rabbitmq-server,
  programs,
  jaeger,
}:
let
  # JSON is valid YAML.
  file = name: content: writeText name (builtins.toJSON content);

  # The wrapper sets PATH and $STATE.
  postgres = writeShellScript "postgres" ''
    set -euo pipefail
    data=$STATE/postgres
    if [[ ! -e $data/made ]]; then
      rm -rf "$data"
      initdb --username=miniapp --auth=trust --encoding=UTF8 --no-locale --pgdata "$data" >/dev/null
      echo 'CREATE DATABASE miniapp' | postgres --single -D "$data" postgres >/dev/null
      touch "$data/made"
    fi
    exec postgres -D "$data" -c listen_addresses=127.0.0.1 -c unix_socket_directories=
  '';

  rabbitEnvironment = writeText "rabbit-environment" ''
    export HOME=$STATE/rabbitmq
    export ERL_EPMD_ADDRESS=127.0.0.1
    export RABBITMQ_NODENAME=miniapp@localhost
    export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}"
    export RABBITMQ_MNESIA_BASE=$HOME/data
    export RABBITMQ_LOG_BASE=$HOME
    export RABBITMQ_LOGS=-
    export RABBITMQ_CONFIG_FILE=${writeText "rabbitmq.conf" ''
      listeners.tcp.1 = 127.0.0.1:5672
      management.tcp.ip = 127.0.0.1
      management.tcp.port = 15672
    ''}
    export RABBITMQ_ENABLED_PLUGINS_FILE=${writeText "enabled_plugins" "[rabbitmq_management]."}
  '';
  rabbit = writeShellScript "rabbit" ''
    set -euo pipefail
    source ${rabbitEnvironment}
    mkdir -p "$HOME"
    exec rabbitmq-server
  '';
  rabbitIsReady = writeShellScript "rabbit-is-ready" ''
    source ${rabbitEnvironment}
    exec rabbitmq-diagnostics --quiet check_port_connectivity
  '';

  # With storage in memory, like without a configuration.
  jaegerConfiguration = ../observability/jaeger/memory.yaml;
  jaegerCommand =
    "jaeger"
    + lib.optionalString (builtins.pathExists jaegerConfiguration) " --config ${jaegerConfiguration}";

  probe =
    period: check:
    {
      period_seconds = period;
      timeout_seconds = 10;
      failure_threshold = 60;
    }
    // check;
  answers =
    port: path:
    probe 1 {
      http_get = {
        host = "127.0.0.1";
        scheme = "http";
        port = toString port;
        inherit path;
      };
    };
  succeeds = command: probe 2 { exec = { inherit command; }; };

  servers = {
    postgres = {
      command = postgres;
      readiness_probe = succeeds "pg_isready --quiet --host 127.0.0.1 --username miniapp --dbname miniapp";
      # SIGINT, a fast shutdown: ends sessions instead of waiting for them.
      shutdown.signal = 2;
    };
    rabbitmq = {
      command = rabbit;
      readiness_probe = succeeds rabbitIsReady;
    };
    mailpit = {
      command = "mailpit --listen 127.0.0.1:8025 --smtp 127.0.0.1:1025 --database $STATE/mail.db";
      readiness_probe = answers 8025 "/readyz";
    };
  }
  // lib.optionalAttrs (jaeger != null) {
    jaeger = {
      command = jaegerCommand;
      readiness_probe = answers 13133 "/status";
    };
  };

  service = command: admin: {
    inherit command;
    environment = [ "MINIAPP__ADMIN__LISTEN=127.0.0.1:${toString admin}" ];
    depends_on = lib.mapAttrs (_: _: { condition = "process_healthy"; }) servers;
    readiness_probe = answers admin "/readyz";
    availability.restart = "on_failure";
    shutdown.timeout_seconds = 35;
  };
  services = {
    auth = service "auth" 9005;
    api = service "api" 9000;
    worker-1 = service "worker" 9001;
    worker-2 = service "worker" 9002;
    worker-3 = service "worker" 9003;
  };

  configuration = file "process-compose.yaml" {
    version = "0.5";
    # Services stop before the servers, so that workers can release their tasks.
    ordered_shutdown = true;
    environment = [
      "MINIAPP__DATABASE__URL=postgres://miniapp@127.0.0.1/miniapp"
      "MINIAPP__BROKER__URL=amqp://guest:guest@127.0.0.1"
      "MINIAPP__MAIL__URL=smtp://127.0.0.1:1025?tls=none"
    ]
    ++ lib.optional (jaeger != null) "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317";
    processes = servers // services;
  };
in
writeShellApplication {
  name = "miniapp-stack";
  runtimeInputs = [
    # process-compose runs each command with it.
    bash
    coreutils
    mailpit
    postgresql_17
    process-compose
    rabbitmq-server
    programs.auth
    programs.api
    programs.worker
  ]
  ++ lib.optional (jaeger != null) jaeger;
  text = ''
    STATE=$(realpath --canonicalize-missing "''${MINIAPP_STATE:-.miniapp/stack}")
    # auth stores the secret there that seals its keys.
    MINIAPP__DATA_DIR=$STATE/auth
    export STATE MINIAPP__DATA_DIR
    mkdir -p "$STATE"
    # The port of its server may be in use by the developer.
    export PC_NO_SERVER=1
    exec process-compose up --config ${configuration} "$@"
  '';
  passthru = { inherit configuration; };
  meta.description = "MiniApp as separate local processes, with its servers";
}
