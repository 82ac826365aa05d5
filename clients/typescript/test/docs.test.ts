// What docs/clients.md shows works when pasted.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { afterAll, expect, inject, test } from "vitest";

const offer = inject("service");
const folder = resolve(import.meta.dirname, ".snippets");
const blocks = [...readFileSync(resolve(import.meta.dirname, "../../../docs/clients.md"), "utf8").matchAll(/```ts\n(.*?)```/gs)]
  .map((found) => found[1]!)
  .filter((block) => block.includes("@encore-recs/nestjs") === false);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

test.each(blocks.map((block, number) => [number, block] as const))("snippet %i", async (number, block) => {
  process.env["ENCORE_URL"] = offer.address;
  process.env["ENCORE_TOKEN"] = offer.api_key;
  mkdirSync(folder, { recursive: true });
  const file = resolve(folder, `${number}.ts`);
  writeFileSync(file, `${block}\nexport {};\n`);
  await import(/* @vite-ignore */ file);
});

test("there are snippets", () => expect(blocks.length).toBeGreaterThan(2));
