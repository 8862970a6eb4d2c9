// Nobody but this server is asked for anything: by default the address of the document goes to validator.swagger.io.
SwaggerUIBundle({
  url: "/docs/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
});
