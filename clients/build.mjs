// Builds the package in the working directory twice, as ES modules and as CommonJS, each with its types.
import { execFileSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const tsc = createRequire(import.meta.url).resolve("typescript/bin/tsc");
rmSync("dist", { recursive: true, force: true });
for (const [kind, ...flags] of [
  ["esm", "--module", "esnext", "--moduleResolution", "bundler"],
  ["cjs", "--module", "commonjs", "--moduleResolution", "node10"],
]) {
  execFileSync(process.execPath, [tsc, "-p", "tsconfig.build.json", "--outDir", `dist/${kind}`, ...flags], { stdio: "inherit" });
}
// The package is of type "module"; this part of it is not.
writeFileSync("dist/cjs/package.json", '{ "type": "commonjs" }\n');
