from triptych.main import app

app()
