# Boots a machine with the module. A user registers with a code from a mail, a task runs, and its
# trace in Jaeger contains spans of all services.
{ module, jaeger }:
{
  name = "miniapp";

  nodes.machine =
    { lib, pkgs, ... }:
    {
      imports = [ module ];
      virtualisation.memorySize = 2048;
      environment.systemPackages = [ pkgs.jq ];

      services.miniapp = {
        enable = true;
        workers = 2;
        settings.telemetry.otlp_endpoint = "http://127.0.0.1:4317";
        # Files in the Nix store are public.
        settings.auth.allow_published_secret = true;
        secretFiles = {
          "auth.secret" = "${pkgs.writeText "secret" "a secret of this test, for-development-only"}";
          "mail.url" = "${pkgs.writeText "mail" "smtp://127.0.0.1:1025?tls=none"}";
        };
      };
      services.mailpit.instances.default = {
        listen = "127.0.0.1:8025";
        smtp = "127.0.0.1:1025";
      };
      systemd.services.jaeger = {
        wantedBy = [ "multi-user.target" ];
        serviceConfig = {
          ExecStart = lib.getExe jaeger;
          DynamicUser = true;
        };
      };
    };

  testScript = ''
    import json
    import shlex

    AUTH = "http://127.0.0.1:8005"
    TASKS = "http://127.0.0.1:8000/api/tasks"


    def request(url, *options, body=None):
        words = ["curl", "--silent", "--show-error", "--fail-with-body", *options, url]
        if body is not None:
            words += ["--header", "Content-Type: application/json", "--data", json.dumps(body)]
        answer = machine.succeed(shlex.join(words))
        return json.loads(answer) if answer.strip() else None


    for unit in ["auth", "api", "worker-1", "worker-2"]:
        machine.wait_for_unit(f"miniapp-{unit}.service")
    for port in [9005, 9000, 9001, 9002]:
        machine.wait_until_succeeds(f"curl --silent --fail http://127.0.0.1:{port}/readyz")
    machine.wait_for_open_port(16686)

    with subtest("a user registers with a code from a mail"):
        request(f"{AUTH}/send-verification-code", body={"email": "ada@example.com"})
        code = machine.wait_until_succeeds(
            "curl --silent --fail http://127.0.0.1:8025/api/v1/message/latest"
            " | jq --raw-output .Text | grep --only-matching --extended-regexp '[0-9]{6}'"
        ).split()[0]
        proof = request(f"{AUTH}/verify-email", body={"email": "ada@example.com", "code": code})
        account = {"login": "ada", "password": "seven quiet lanterns"}
        token = proof["registrationToken"]
        registration = {"email": "ada@example.com", "registrationToken": token, **account}
        request(f"{AUTH}/register", body=registration)
        token = request(f"{AUTH}/sign-in", body=account)["authToken"]

    with subtest("a task runs"):
        bearer = ["--header", f"Authorization: Bearer {token}"]
        task = {"description": "Say it back", "kind": "echo", "data": "hello", "ttl": 30}
        head = "/tmp/head"
        made = request(TASKS, "--dump-header", head, *bearer, body=task)
        url = f"{TASKS}/{made['taskId']}"
        follow = shlex.join(["curl", "--silent", *bearer, url])
        machine.wait_until_succeeds(f"{follow} | jq --exit-status '.status == \"Finished\"'")
        assert request(url, *bearer)["result"] == "hello"

    with subtest("its trace contains spans of the API and a worker"):
        trace = machine.succeed(f"sed --quiet 's/^x-trace-id: //Ip' {head}").strip()
        spans = f"curl --silent --fail http://127.0.0.1:16686/api/traces/{trace}"
        services = "[.data[0].processes[].serviceName] | contains([\"api\", \"worker\"])"
        machine.wait_until_succeeds(f"{spans} | jq --exit-status {shlex.quote(services)}")

    with subtest("an administrator runs a command with the secret of auth"):
        secret = machine.succeed(
            "systemctl cat miniapp-auth"
            " | grep --only-matching '/nix/store/[^ ]*-secret'"
        ).strip()
        machine.succeed(
            "systemd-run --pipe --wait --collect --unit miniapp-admin"
            " --uid miniapp-auth --gid miniapp"
            f" --property LoadCredential=auth.secret:{secret}"
            " --setenv MINIAPP__AUTH__SECRET_FILE=/run/credentials/miniapp-admin.service/auth.secret"
            " --setenv MINIAPP__AUTH__ALLOW_PUBLISHED_SECRET=true"
            " --setenv 'MINIAPP__DATABASE__URL=postgres:///miniapp?host=/run/postgresql&user=auth'"
            " miniapp admin grant ada"
        )

    with subtest("the programs have no rights that they do not need"):
        psql = "sudo -u miniapp-{} psql 'postgres:///miniapp?host=/run/postgresql&user={}' -c 'SELECT count(*) FROM {}'"
        machine.succeed(psql.format("auth", "auth", "accounts"))
        machine.succeed(psql.format("worker", "tasks", "tasks"))
        for user, role, table in [
            ("auth", "auth", "tasks"),
            ("worker", "tasks", "accounts"),
            ("worker", "auth", "accounts"),
            ("api", "migrate", "tasks"),
        ]:
            machine.fail(psql.format(user, role, table))
        users = "sudo -u rabbitmq env HOME=/var/lib/rabbitmq rabbitmqctl list_users"
        assert "worker" in machine.succeed(users)
        machine.fail(f"{users} | grep guest")

    with subtest("units stop without failures"):
        machine.succeed("systemctl stop 'miniapp-*'")
        machine.fail("systemctl --failed --quiet list-units 'miniapp-*' | grep miniapp")
  '';
}
