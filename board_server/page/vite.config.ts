import { defineConfig } from "vite";

// Relative addresses everywhere: the page must work behind a proxy's prefix such as /board/.
export default defineConfig({
  base: "./",
  build: {
    outDir: "../static",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: false,
    assetsInlineLimit: 0, // inlined assets would need exceptions in the Content-Security-Policy
    cssCodeSplit: false,
  },
});
