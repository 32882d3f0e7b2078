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
    "mail.url"
  ];

  unit =
    {
      program,
      description,
      secrets ? sharedSecrets,
      environment ? { },
      # Additional options of the unit.
      serviceConfig ? { },
    }:
    let
      files = lib.filterAttrs (setting: _: lib.elem setting secrets) cfg.secretFiles;
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
      ];
      environment = {
        MINIAPP_CONFIG = "${settings}";
        MINIAPP__DATA_DIR = "%S/miniapp";
      }
      // lib.mapAttrs' (setting: _: lib.nameValuePair (variable setting) "%d/${setting}") files
      // environment;
      serviceConfig = {
        ExecStart = lib.getExe cfg.packages.${program};
        Restart = "always";
        RestartSec = 2;
        # A worker releases tasks that do not finish within worker.grace.
        TimeoutStopSec = 60;
        User = "miniapp";
        Group = "miniapp";
        StateDirectory = "miniapp";
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

    database.createLocally = mkOption {
      type = types.bool;
      default = true;
      description = "Whether PostgreSQL runs on this machine, with a database for MiniApp.";
    };

    broker.createLocally = mkOption {
      type = types.bool;
      default = true;
      description = "Whether RabbitMQ runs on this machine.";
    };
  };

  config = mkIf cfg.enable {
    assertions =
      let
        isGiven = section: cfg.settings ? ${section}.url || cfg.secretFiles ? "${section}.url";
        unknown = lib.subtractLists authSecrets (lib.attrNames cfg.secretFiles);
      in
      [
        {
          assertion = unknown == [ ];
          message = "services.miniapp.secretFiles: unknown ${toString unknown}; possible are ${toString authSecrets}";
        }
        {
          assertion = isGiven "database";
          message = "services.miniapp: set secretFiles.\"database.url\" or database.createLocally";
        }
        {
          assertion = isGiven "broker";
          message = "services.miniapp: set secretFiles.\"broker.url\" or broker.createLocally";
        }
      ];

    services.miniapp.settings = {
      database = mkIf cfg.database.createLocally {
        # Peer authentication: the system user needs no password.
        url = lib.mkDefault "postgres:///miniapp?host=/run/postgresql&user=miniapp";
      };
      broker = mkIf cfg.broker.createLocally {
        # The default user of RabbitMQ, which is accepted from this machine only.
        url = lib.mkDefault "amqp://guest:guest@127.0.0.1:5672";
      };
    };

    services.postgresql = mkIf cfg.database.createLocally {
      enable = true;
      ensureDatabases = [ "miniapp" ];
      ensureUsers = [
        {
          name = "miniapp";
          ensureDBOwnership = true;
        }
      ];
    };
    services.rabbitmq.enable = mkIf cfg.broker.createLocally true;

    users.users.miniapp = {
      isSystemUser = true;
      group = "miniapp";
    };
    users.groups.miniapp = { };

    environment.systemPackages = [ cfg.packages.miniapp ];

    systemd.services = {
      miniapp-auth = unit {
        program = "auth";
        description = "MiniApp: accounts, sessions and tokens";
        secrets = authSecrets;
      };
      miniapp-api = unit {
        program = "api";
        description = "MiniApp: tasks over HTTP";
      };
    }
    // lib.listToAttrs (map worker (lib.range 1 cfg.workers));
  };
}
