import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    globalSetup: ["../service.ts"],
    testTimeout: 180_000,
    hookTimeout: 300_000,
    fileParallelism: false,
    coverage: { provider: "v8", include: ["src/**"], thresholds: { lines: 85, statements: 85, functions: 85, branches: 85 } },
  },
});
