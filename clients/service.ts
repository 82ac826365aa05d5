// Starts `encore serve` for the tests of a package, and gives them its address and tokens (tests/servers/client_service.py).
import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import type { TestProject } from "vitest/node";

import type { Offer } from "./offer";

export default async function start(project: TestProject): Promise<() => Promise<void>> {
  const root = resolve(import.meta.dirname, "..");
  const python = process.env["ENCORE_PYTHON"] ?? (existsSync(`${root}/.venv/bin/python`) ? `${root}/.venv/bin/python` : "python3");
  const child = spawn(python, ["-m", "tests.servers.client_service"], { cwd: root, stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const first = await lines.next();
  if (first.done) throw new Error(`no service: ${python} -m tests.servers.client_service ended`);

  // One command at a time: tests ask over HTTP, because they run in processes of their own.
  let turn: Promise<unknown> = Promise.resolve();
  const ask = (command: string): Promise<string> => {
    const answer = turn.then(async () => {
      child.stdin.write(`${command}\n`);
      const line = await lines.next();
      return String(line.value);
    });
    turn = answer.catch(() => undefined);
    return answer;
  };
  const control = createServer((request, response) => {
    void ask(decodeURIComponent((request.url ?? "/").slice(1))).then((line) => response.end(line));
  });
  await new Promise<void>((done) => control.listen(0, "127.0.0.1", done));
  const address = control.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  project.provide("service", { ...(JSON.parse(first.value) as Omit<Offer, "control">), control: `http://127.0.0.1:${address.port}` });
  return async () => {
    control.close();
    child.stdin.end("quit\n");
    await new Promise((done) => child.once("exit", done));
  };
}
