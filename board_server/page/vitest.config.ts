import { defineConfig } from "vitest/config";

// Files share their process: to start one for each takes two thirds of the time.
export default defineConfig({ test: { include: ["tests/**/*.test.ts"], isolate: false } });
