import { build, defineConfig, type Plugin, type ResolvedConfig } from "vite";

// Relative addresses everywhere: the page must work behind a proxy's prefix such as /board/.
const usual = {
  target: "es2022",
  modulePreload: false,
  assetsInlineLimit: 0, // inlined assets would need exceptions in the Content-Security-Policy
  cssCodeSplit: false,
} as const;

/** All of the script in one file, `whole.js`, for reports that are read without a server: `mlgym_jax.report --html`. */
function whole(): Plugin {
  let config: ResolvedConfig;
  return {
    name: "whole",
    configResolved: (resolved) => {
      config = resolved;
    },
    closeBundle: async () => {
      await build({
        configFile: false,
        root: config.root,
        base: "./",
        logLevel: "warn",
        build: {
          ...usual,
          outDir: config.build.outDir,
          emptyOutDir: false,
          rolldownOptions: {
            input: "src/main.tsx",
            output: { codeSplitting: false, entryFileNames: "whole.js" },
          },
        },
      });
    },
  };
}

export default defineConfig({
  base: "./",
  plugins: [whole()],
  build: {
    ...usual,
    outDir: "../static",
    emptyOutDir: true,
    // What every view loads stands in assets/, what single views load when they are opened in assets/views/.
    rolldownOptions: { output: { chunkFileNames: "assets/views/[name]-[hash].js" } },
  },
});
