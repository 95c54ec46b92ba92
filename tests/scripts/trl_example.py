"""In the manner of TRL's examples: chat columns with a system prompt, TRL's rewards, LoRA.

python trl_example.py --model_name_or_path MODEL --output_dir OUTPUT_DIR --use_peft ...
"""

from datasets import Dataset
from trl import (
    GRPOConfig,
    GRPOTrainer,
    ModelConfig,
    ScriptArguments,
    TrlParser,
    get_peft_config,
)
from trl.rewards import accuracy_reward, think_format_reward

SYSTEM_PROMPT = (
    "A conversation between user and assistant. The assistant first thinks about the reasoning process "
    "and then gives the answer. The reasoning process is enclosed in <think></think> tags."
)

if __name__ == "__main__":
    parser = TrlParser((ScriptArguments, GRPOConfig, ModelConfig))
    script_args, training_args, model_args = parser.parse_args_and_config()

    rows = [{"problem": f"{a} * {b}", "solution": f"${a * b}$"} for a in range(7) for b in range(7)]
    dataset = Dataset.from_list(rows).train_test_split(test_size=4, seed=42)

    def make_conversation(example):
        return {
            "prompt": [
                {"role": "system", "content": SYSTEM_PROMPT},
                {"role": "user", "content": example["problem"]},
            ],
        }

    dataset = dataset.map(make_conversation, remove_columns=["problem"])

    trainer = GRPOTrainer(
        model=model_args.model_name_or_path,
        args=training_args,
        reward_funcs=[think_format_reward, accuracy_reward],
        train_dataset=dataset["train"],
        eval_dataset=dataset["test"] if training_args.eval_strategy != "no" else None,
        peft_config=get_peft_config(model_args),
    )
    trainer.train()
    trainer.save_model(training_args.output_dir)
