# services.miniapp: auth, the API and workers as systemd units, with PostgreSQL and RabbitMQ.
flake:
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.services.miniapp;
  inherit (lib)
    mkEnableOption
    mkIf
    mkOption
    types
    ;
  toml = pkgs.formats.toml { };

  # The program validates the settings while the system is built.
  settings =
    pkgs.runCommand "miniapp.toml"
      { nativeBuildInputs = lib.optional cfg.checkSettings cfg.packages.miniapp; }
      ''
        cp ${toml.generate "settings.toml" cfg.settings} $out
        ${lib.optionalString cfg.checkSettings ''
          HOME=$TMPDIR miniapp --config $out config >/dev/null
        ''}
      '';

  # database.url becomes the credential of that name and MINIAPP__DATABASE__URL_FILE.
  variable = setting: "MINIAPP__${lib.toUpper (lib.replaceStrings [ "." ] [ "__" ] setting)}_FILE";

  # Secrets of all programs, and those of auth.
  sharedSecrets = [
    "broker.url"
    "database.url"
    "telemetry.otlp_headers"
  ];
  authSecrets = sharedSecrets ++ [
    "auth.secret"
    "auth.secret_previous"
    "mail.url"
  ];

  # What each program logs in as: the role of the database and the user of the broker. Each runs as
  # a separate system user, because PostgreSQL trusts the name of the system user.
  roles = {
    auth = "auth";
    api = "tasks";
    worker = "tasks";
    migrate = "migrate";
  };
  brokerUsers = [
    "auth"
    "api"
    "worker"
  ];
  roleScript = ../kustomize/components/postgres-roles/roles.sql;
  brokerDefinitions = ../kustomize/components/rabbitmq/definitions.json;
  brokerSecrets = "/var/lib/miniapp-broker";

  databaseIsLocal = cfg.database.createLocally && !(cfg.settings ? database.url);
  brokerIsLocal = cfg.broker.createLocally && !(cfg.settings ? broker.url);

  unit =
    {
      program,
      description,
      service ? program,
      secrets ? sharedSecrets,
      environment ? { },
      # auth keeps the directory of earlier releases, because its secret may be there.
      directory ? "miniapp-${service}",
      # Additional options of the unit.
      serviceConfig ? { },
    }:
    let
      given = cfg.secretFiles // (cfg.serviceSecretFiles.${service} or { });
      generated = lib.optionalAttrs (brokerIsLocal && lib.elem service brokerUsers) {
        "broker.url" = "${brokerSecrets}/${service}";
      };
      files = lib.filterAttrs (setting: _: lib.elem setting secrets) (generated // given);
    in
    {
      inherit description;
      wantedBy = [ "multi-user.target" ];
      # Programs wait for their dependencies; the order only avoids log lines about that.
      wants = [ "network-online.target" ];
      after = [
        "network-online.target"
        "postgresql.target"
        "rabbitmq.service"
        "miniapp-roles.service"
        "miniapp-broker.service"
      ]
      ++ lib.optional (service != "migrate") "miniapp-migrate.service";
      environment = {
        MINIAPP_CONFIG = "${settings}";
        MINIAPP__DATA_DIR = "%S/${directory}";
      }
      // lib.optionalAttrs (databaseIsLocal && !(files ? "database.url")) {
        # Peer authentication: the system user needs no password.
        MINIAPP__DATABASE__URL = "postgres:///miniapp?host=/run/postgresql&user=${roles.${service}}";
      }
      // lib.mapAttrs' (setting: _: lib.nameValuePair (variable setting) "%d/${setting}") files
      // environment;
      serviceConfig = {
        ExecStart = lib.getExe cfg.packages.${program};
        Restart = "always";
        RestartSec = 2;
        # A worker releases tasks that do not finish within worker.grace.
        TimeoutStopSec = 60;
        User = "miniapp-${service}";
        Group = "miniapp";
        StateDirectory = directory;
        StateDirectoryMode = "0700";
        LoadCredential = lib.mapAttrsToList (setting: path: "${setting}:${path}") files;

        CapabilityBoundingSet = "";
        DevicePolicy = "closed";
        LockPersonality = true;
        MemoryDenyWriteExecute = true;
        NoNewPrivileges = true;
        PrivateDevices = true;
        PrivateTmp = true;
        PrivateUsers = true;
        ProcSubset = "pid";
        ProtectClock = true;
        ProtectControlGroups = true;
        ProtectHome = true;
        ProtectHostname = true;
        ProtectKernelLogs = true;
        ProtectKernelModules = true;
        ProtectKernelTunables = true;
        ProtectProc = "invisible";
        ProtectSystem = "strict";
        RemoveIPC = true;
        RestrictAddressFamilies = [
          "AF_INET"
          "AF_INET6"
          "AF_UNIX"
        ];
        RestrictNamespaces = true;
        RestrictRealtime = true;
        RestrictSUIDSGID = true;
        SystemCallArchitectures = "native";
        SystemCallErrorNumber = "EPERM";
        SystemCallFilter = [
          "@system-service"
          "~@privileged @resources"
        ];
        UMask = "0077";
      }
      // serviceConfig;
    };

  worker = number: {
    name = "miniapp-worker-${toString number}";
    value = unit {
      program = "worker";
      description = "MiniApp: worker ${toString number}";
      environment.MINIAPP__ADMIN__LISTEN = "127.0.0.1:${toString (9000 + number)}";
    };
  };
in
{
  options.services.miniapp = {
    enable = mkEnableOption "MiniApp: accounts, tokens and background tasks";

    packages = mkOption {
      type = types.attrsOf types.package;
      default = flake.packages.${pkgs.stdenv.hostPlatform.system};
      defaultText = lib.literalMD "the packages of the flake";
      description = "The packages of the programs auth, api, worker and miniapp.";
    };

    workers = mkOption {
      # Their admin listeners use the ports from 9001; 9005 belongs to auth.
      type = types.ints.between 0 4;
      default = 1;
      description = "The number of workers on this machine, each with `worker.concurrency` slots.";
    };

    settings = mkOption {
      inherit (toml) type;
      default = { };
      example = {
        api.listen = "[::]:8000";
        mail.from = "MiniApp <no-reply@example.com>";
      };
      description = ''
        Settings of the platform; `miniapp config --defaults` describes them. All users of the
        machine can read them, so set passwords in secretFiles.
      '';
    };

    checkSettings = mkOption {
      type = types.bool;
      default = pkgs.stdenv.buildPlatform.canExecute pkgs.stdenv.hostPlatform;
      defaultText = lib.literalMD "whether the program can run on the build machine";
      description = "Whether a wrong setting fails the build of the system.";
    };

    secretFiles = mkOption {
      type = types.attrsOf types.str;
      default = { };
      example = {
        "auth.secret" = "/run/secrets/miniapp-auth-secret";
        "mail.url" = "/run/secrets/miniapp-mail-url";
      };
      description = ''
        Files that contain secret settings and can be readable by root only:
        ${lib.concatStringsSep ", " authSecrets}.
      '';
    };

    serviceSecretFiles = mkOption {
      type = types.attrsOf (types.attrsOf types.str);
      default = { };
      example = {
        auth."database.url" = "/run/secrets/miniapp-auth-database-url";
        worker."broker.url" = "/run/secrets/miniapp-worker-broker-url";
      };
      description = ''
        The same for one of auth, api, worker and migrate only, such as the URL with its own role
        or user.
      '';
    };

    database.createLocally = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Whether PostgreSQL runs on this machine, with a database for MiniApp. Each program has a
        role with the rights that it needs.
      '';
    };

    broker.createLocally = mkOption {
      type = types.bool;
      default = true;
      description = ''
        Whether RabbitMQ runs on this machine. Each program has a user with the permissions that it
        needs; the default user is removed.
      '';
    };
  };

  config = mkIf cfg.enable {
    assertions =
      let
        isGiven =
          section: services:
          cfg.settings ? ${section}.url
          || cfg.secretFiles ? "${section}.url"
          || lib.all (service: (cfg.serviceSecretFiles.${service} or { }) ? "${section}.url") services;
        names = lib.concatMap lib.attrNames (
          [ cfg.secretFiles ] ++ lib.attrValues cfg.serviceSecretFiles
        );
        unknown = lib.subtractLists authSecrets names;
        unknownServices = lib.subtractLists (lib.attrNames roles) (lib.attrNames cfg.serviceSecretFiles);
      in
      [
        {
          assertion = unknown == [ ];
          message = "services.miniapp.secretFiles: unknown ${toString unknown}; possible are ${toString authSecrets}";
        }
        {
          assertion = unknownServices == [ ];
          message = "services.miniapp.serviceSecretFiles: unknown ${toString unknownServices}; possible are ${toString (lib.attrNames roles)}";
        }
        {
          assertion = databaseIsLocal || isGiven "database" (lib.attrNames roles);
          message = "services.miniapp: set secretFiles.\"database.url\" or database.createLocally";
        }
        {
          assertion = brokerIsLocal || isGiven "broker" brokerUsers;
          message = "services.miniapp: set secretFiles.\"broker.url\" or broker.createLocally";
        }
      ];

    services.postgresql = mkIf cfg.database.createLocally {
      enable = true;
      ensureDatabases = [ "miniapp" ];
      # The system users, and the roles that they may log in as.
      authentication = ''
        local miniapp ${lib.concatStringsSep "," (lib.unique (lib.attrValues roles))} peer map=miniapp
      '';
      identMap = lib.concatStrings (
        lib.mapAttrsToList (service: role: "miniapp miniapp-${service} ${role}\n") roles
      );
    };
    services.rabbitmq.enable = mkIf cfg.broker.createLocally true;

    users.users = lib.mapAttrs' (
      service: _:
      lib.nameValuePair "miniapp-${service}" {
        isSystemUser = true;
        group = "miniapp";
      }
    ) roles;
    users.groups.miniapp = { };

    environment.systemPackages = [ cfg.packages.miniapp ];

    systemd.services = {
      miniapp-auth = unit {
        program = "auth";
        description = "MiniApp: accounts, sessions and tokens";
        secrets = authSecrets;
        directory = "miniapp";
      };
      miniapp-api = unit {
        program = "api";
        description = "MiniApp: tasks over HTTP";
      };
    }
    // lib.listToAttrs (map worker (lib.range 1 cfg.workers))
    // {
      # Services whose tables are out of date wait for it.
      miniapp-migrate = unit {
        program = "miniapp";
        service = "migrate";
        description = "MiniApp: tables of the database";
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          ExecStart = "${lib.getExe cfg.packages.miniapp} migrate";
          Restart = "on-failure";
          TimeoutStartSec = "1h";
        };
      };
    }
    // lib.optionalAttrs cfg.database.createLocally {
      # Also takes over the tables of earlier releases, which belonged to the role miniapp.
      miniapp-roles = {
        description = "MiniApp: roles of the database";
        wantedBy = [ "multi-user.target" ];
        requires = [ "postgresql.target" ];
        after = [ "postgresql.target" ];
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          User = "postgres";
          ExecStart = "${config.services.postgresql.package}/bin/psql --no-psqlrc --set=ON_ERROR_STOP=1 --dbname=miniapp --file=${roleScript}";
        };
      };
    }
    // lib.optionalAttrs cfg.broker.createLocally {
      # Generates the passwords once. systemd passes each program the URL with its own.
      miniapp-broker = {
        description = "MiniApp: users, exchanges and queues of the broker";
        wantedBy = [ "multi-user.target" ];
        requires = [ "rabbitmq.service" ];
        after = [ "rabbitmq.service" ];
        path = [ config.services.rabbitmq.package ];
        environment.HOME = config.services.rabbitmq.dataDir;
        serviceConfig = {
          Type = "oneshot";
          RemainAfterExit = true;
          User = "rabbitmq";
          StateDirectory = "miniapp-broker";
          StateDirectoryMode = "0700";
          UMask = "0077";
        };
        script = ''
          rabbitmqctl await_startup
          for user in ${toString brokerUsers}; do
            file=${brokerSecrets}/$user
            if [ ! -s "$file" ]; then
              password=$(od --address-radix=n --read-bytes=24 --format=x1 /dev/urandom | tr --delete ' \n')
              printf 'amqp://%s:%s@127.0.0.1:5672/' "$user" "$password" >"$file"
            fi
            password=$(sed 's|^amqp://[^:]*:\([^@]*\)@.*|\1|' "$file")
            # Reads the password from standard input.
            if rabbitmqctl --quiet list_users | grep --quiet "^$user[[:space:]]"; then
              rabbitmqctl change_password "$user" <<<"$password"
            else
              rabbitmqctl add_user "$user" <<<"$password"
            fi
          done
          rabbitmqctl import_definitions ${brokerDefinitions}
          # It may do everything, and everyone on this machine knows its password.
          rabbitmqctl delete_user guest || true
        '';
      };
    };
  };
}
