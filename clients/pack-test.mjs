// Packs both packages, installs the tarballs in a project of their own, and uses them as ES module, CommonJS and types.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync, copyFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const here = import.meta.dirname;
const project = mkdtempSync(join(tmpdir(), "encore-pack-"));
const run = (program, args, cwd = project) => execFileSync(program, args, { cwd, stdio: ["ignore", "pipe", "inherit"], encoding: "utf8" });
try {
  for (const name of ["typescript", "nestjs"]) run("npm", ["pack", "--silent", "--pack-destination", project], join(here, name));
  const tarballs = readdirSync(project).filter((name) => name.endsWith(".tgz")).map((name) => `./${name}`);
  if (tarballs.length !== 2) throw new Error(`two tarballs expected: ${tarballs}`);
  copyFileSync(join(here, ".npmrc"), join(project, ".npmrc"));
  writeFileSync(join(project, "package.json"), JSON.stringify({ name: "user-of-encore", private: true }));
  run("npm", ["install", "--silent", "--prefer-offline", ...tarballs, "@nestjs/common@11.2.10", "@nestjs/core@11.2.10",
    "@nestjs/terminus@11.1.1", "reflect-metadata@0.2.2", "rxjs@7.8.2", "typescript@5.9.3"]);
  const use = "new EncoreClient({ baseUrl: 'http://127.0.0.1:1', token: 't', retry: { retries: 0 } }).health()" +
    ".catch((error) => { if (!(error instanceof ConnectionError)) throw error; console.log('works'); });";
  writeFileSync(join(project, "esm.mjs"), `import { ConnectionError, EncoreClient } from "@encore-recs/client";\n${use}\n`);
  writeFileSync(join(project, "cjs.cjs"), `const { ConnectionError, EncoreClient } = require("@encore-recs/client");\n${use}\n`);
  writeFileSync(join(project, "nest.cjs"), `require("reflect-metadata");\nconst { EncoreModule } = require("@encore-recs/nestjs");\n` +
    `if (EncoreModule.forRoot({ baseUrl: "http://x", token: "t" }).exports.length === 3) console.log("works");\n`);
  for (const file of ["esm.mjs", "cjs.cjs", "nest.cjs"]) {
    if (run(process.execPath, [file]).trim() !== "works") throw new Error(file);
  }
  const typed = `import { EncoreClient, type ListAnswer } from "@encore-recs/client";\n` +
    `export const list = (client: EncoreClient): Promise<ListAnswer> => client.lists.forUser("u1", { limit: 3 });\n` +
    `// @ts-expect-error: no such parameter\nexport const wrong = (client: EncoreClient) => client.lists.forUser("u1", { limits: 3 });\n`;
  writeFileSync(join(project, "typed.mts"), typed);
  writeFileSync(join(project, "typed.cts"), typed);
  run("npx", ["tsc", "--noEmit", "--strict", "--skipLibCheck", "--target", "es2022", "--module", "nodenext", "typed.mts", "typed.cts"]);
  console.log("packages: both tarballs install; ES module, CommonJS and types work");
} finally {
  rmSync(project, { recursive: true, force: true });
}
