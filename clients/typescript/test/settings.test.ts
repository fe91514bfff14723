/** Addresses and tokens: what is understood, and what is refused with a sentence. */
import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { RunService } from "../src/gen/nagaya/runs/v1/run_service_pb.js";
import { pages, SettingsInvalid } from "../src/index.js";
import { connect, settingsFromEnvironment, tokenFile } from "../src/node.js";
import { parseAddress } from "../src/settings.js";
import { withClient } from "./server.js";

const REQUEST = { tenantId: "acme" };

test("an address is host:port, http:// or https://", () => {
  assert.equal(parseAddress("127.0.0.1:7000"), "http://127.0.0.1:7000");
  assert.equal(parseAddress("runs:7000"), "http://runs:7000");
  assert.equal(parseAddress("[::1]:7000"), "http://[::1]:7000");
  assert.equal(parseAddress("http://runs:7000"), "http://runs:7000");
  assert.equal(parseAddress("https://runs.example.com"), "https://runs.example.com");
});

for (const text of [
  "ftp://runs:7000",
  "runs:7000/api",
  "https://me@runs",
  "runs:x",
  "https://",
  "unix:/x",
  "runs:7000?a=b",
]) {
  test(`${text} is no address`, () => {
    assert.throws(
      () => parseAddress(text),
      (error) =>
        error instanceof SettingsInvalid &&
        error.message.includes(text) &&
        /https:\/\/host/.test(error.message),
    );
  });
}

test("a service without an address is named when it is called", () => {
  const client = connect({ address: { runs: "127.0.0.1:1" }, token: "t" });

  assert.throws(() => client.tenants, /the address of the service tenant is not known/);
});

test("a token file is read for every call", async () => {
  const folder = await mkdtemp(join(tmpdir(), "nagaya-"));
  const file = join(folder, "token");
  const seen: (string | null)[] = [];
  await writeFile(file, "first\n");
  await withClient(
    "node",
    (router) =>
      router.service(RunService, {
        listRuns(_, { requestHeader }) {
          seen.push(requestHeader.get("authorization"));
          return {};
        },
      }),
    async (client) => {
      await client.runs.listRuns(REQUEST);
      await writeFile(file, "second\n");
      await client.runs.listRuns(REQUEST);
      for (const content of ["", "two lines\nof it", "wörter"]) {
        await writeFile(file, content);
        await assert.rejects(client.runs.listRuns(REQUEST), SettingsInvalid);
      }
      await rm(file);
      await assert.rejects(
        client.runs.listRuns(REQUEST),
        /the token file cannot be read: .*ENOENT/,
      );
    },
    tokenFile(file),
  );
  assert.deepEqual(seen, ["Bearer first", "Bearer second"]);
  await rm(folder, { recursive: true });
});

test("settings come from the environment", async () => {
  const settings = settingsFromEnvironment({
    NAGAYA_RUNS_ADDRESS: "https://runs.example.com",
    NAGAYA_TOKEN: "abc",
  });

  assert.equal(settings.token, "abc");
  assert.deepEqual(settings.address, {
    tenant: "",
    runs: "https://runs.example.com",
    artifacts: "",
    llmGateway: "",
  });
  assert.throws(() => settingsFromEnvironment({}), /set NAGAYA_TOKEN_FILE/);
});

test("pages are read until there are no more", async () => {
  const asked: string[] = [];
  await withClient(
    "node",
    (router) =>
      router.service(RunService, {
        listRuns({ pageToken, pipeline }) {
          asked.push(`${pipeline}:${pageToken}`);
          return { nextPageToken: pageToken === "" ? "2" : pageToken === "2" ? "3" : "" };
        },
      }),
    async (client) => {
      const request = { ...REQUEST, pipeline: "article" };
      for await (const page of pages(client.runs.listRuns, request)) {
        assert.deepEqual(page.runs, []);
      }
    },
  );
  assert.deepEqual(asked, ["article:", "article:2", "article:3"]);
});
